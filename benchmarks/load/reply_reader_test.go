package main

import (
	"reflect"
	"strings"
	"testing"
)

// readAll gives the reader a stream in pieces of the given size, and collects what it says.
func readAll(t *testing.T, stream string, piece int) (kinds []replyKind, texts []string) {
	t.Helper()
	var r replyReader
	for len(stream) > 0 {
		if piece > len(stream) {
			piece = len(stream)
		}
		for data := []byte(stream[:piece]); len(data) > 0; {
			taken, kind, err := r.next(data)
			if err != nil {
				t.Fatalf("after %v: %v", kinds, err)
			}
			if kind == replyNone && taken != len(data) {
				t.Fatalf("took %d of %d bytes and wants more", taken, len(data))
			}
			data = data[taken:]
			if kind != replyNone {
				kinds = append(kinds, kind)
			}
			if kind == replyError {
				texts = append(texts, r.errorText)
			}
		}
		stream = stream[piece:]
	}
	return kinds, texts
}

func TestNext_SaysTheSame_WhereverTheStreamIsCut(t *testing.T) {
	stream := "+OK\r\n:12\r\n$5\r\nab\r\nc\r\n$0\r\n\r\n$-1\r\n-ERR no\r\n$12\r\n+OK\r\n-ERR\r\n$\r\n" +
		"-UNKNOWN it may have happened\r\n_\r\n$300\r\n" + strings.Repeat("\x00\n\r", 100) + "\r\n+OK\r\n"
	wantKinds := []replyKind{
		replyDone, replyDone, replyDone, replyDone, replyNil, replyError, replyDone,
		replyError, replyNil, replyDone, replyDone,
	}
	wantTexts := []string{"ERR no", "UNKNOWN it may have happened"}
	for piece := 1; piece <= len(stream); piece++ {
		kinds, texts := readAll(t, stream, piece)
		if !reflect.DeepEqual(kinds, wantKinds) {
			t.Fatalf("in pieces of %d: %v, want %v", piece, kinds, wantKinds)
		}
		if !reflect.DeepEqual(texts, wantTexts) {
			t.Fatalf("in pieces of %d: %q, want %q", piece, texts, wantTexts)
		}
	}
}

func TestNext_Fails_WhenTheStreamIsNotRESP(t *testing.T) {
	for _, stream := range []string{
		"*1\r\n", "HTTP/1.1 400\r\n", "\r\n", "+OK\n", "$x\r\n", "$\r\n", "$-2\r\n", "$536870913\r\n",
		"$99999999999999999999\r\n", strings.Repeat("-", replyLineMax+1),
	} {
		var r replyReader
		if _, kind, err := r.next([]byte(stream)); err == nil {
			t.Errorf("%.20q is a reply of kind %v", stream, kind)
		}
	}
}

func TestNext_AllocatesNothing_WhenValuesArrive(t *testing.T) {
	var r replyReader
	stream := []byte("+OK\r\n$256\r\n" + strings.Repeat("v", 256) + "\r\n$-1\r\n")
	allocations := testing.AllocsPerRun(100, func() {
		for data := stream; len(data) > 0; {
			taken, _, err := r.next(data)
			if err != nil {
				t.Fatal(err)
			}
			data = data[taken:]
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations per run", allocations)
	}
}
