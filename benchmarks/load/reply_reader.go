package main

import (
	"bytes"
	"fmt"
)

// replyLineMax bounds a reply's first line; a server's error text is the longest there is.
const replyLineMax = 4096

// bulkBytesMax bounds one value that a server sends: what Redis allows.
const bulkBytesMax = 512 * 1024 * 1024

// replyKind is what a reply says.
type replyKind int

const (
	replyNone  replyKind = iota // the bytes at hand end inside a reply
	replyDone                   // a simple string, an integer or a value
	replyNil                    // there is no such key
	replyError                  // the server refused; the reader's errorText says why
)

// replyReader cuts a stream of RESP bytes into the replies to SET and GET. It keeps no values and no
// bytes of a reply that it has in full, so that all connections can share one buffer; of a reply that
// is cut in two it keeps the first line alone. The zero value is at the start of a stream.
type replyReader struct {
	line      []byte // a first line whose end has not come yet
	skip      int    // bytes of a value, with its CR LF, that have not come yet
	errorText string // what the last replyError said
}

// next reads one reply from the front of data. It says how many bytes it took and what the reply is;
// with replyNone it has taken all of them. An error means that the stream is not RESP, or holds a kind
// of reply that neither SET nor GET has, and can no longer be used.
func (r *replyReader) next(data []byte) (int, replyKind, error) {
	if r.skip > 0 {
		return r.skipValue(data, 0)
	}
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		if len(r.line)+len(data) > replyLineMax {
			return len(data), replyNone, fmt.Errorf("a reply's first line is over %d bytes", replyLineMax)
		}
		r.line = append(r.line, data...)
		return len(data), replyNone, nil
	}
	taken := end + 1
	line := data[:taken]
	if len(r.line) > 0 {
		line = append(r.line, line...)
		r.line = r.line[:0]
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return taken, replyNone, fmt.Errorf("a reply's first line is %q", line)
	}
	text := line[1 : len(line)-2]
	switch line[0] {
	case '+', ':':
		return taken, replyDone, nil
	case '-':
		r.errorText = string(text)
		return taken, replyError, nil
	case '_':
		return taken, replyNil, nil
	case '$':
		if string(text) == "-1" {
			return taken, replyNil, nil
		}
		length, valid := parseLength(text)
		if !valid {
			return taken, replyNone, fmt.Errorf("a value's length is %q", text)
		}
		r.skip = length + len("\r\n")
		return r.skipValue(data, taken)
	default:
		return taken, replyNone, fmt.Errorf("a reply begins with %q", line[0])
	}
}

// skipValue passes over the rest of a value, which begins at data[taken].
func (r *replyReader) skipValue(data []byte, taken int) (int, replyKind, error) {
	if left := len(data) - taken; left < r.skip {
		r.skip -= left
		return len(data), replyNone, nil
	}
	taken += r.skip
	r.skip = 0
	return taken, replyDone, nil
}

// parseLength reads a decimal number up to bulkBytesMax, without making a string of it.
func parseLength(digits []byte) (int, bool) {
	length := 0
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		length = length*10 + int(digit-'0')
		if length > bulkBytesMax {
			return 0, false
		}
	}
	return length, len(digits) > 0
}
