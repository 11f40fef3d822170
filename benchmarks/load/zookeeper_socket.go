package main

import (
	"bufio"
	"net"
	"sync"
	"time"
)

const (
	zookeeperReadBytes = 16 * 1024
	// The deadline of reads is moved on no more often than this.
	deadlineEvery = time.Second
)

// zookeeperSocket spares the library system calls, for the library makes two reads, one write and four
// changes of a timer per request: replies are read as they come, many at once, and requests that are
// written while others are on their way leave together.
type zookeeperSocket struct {
	net.Conn
	reader     *bufio.Reader
	timeout    time.Duration
	deadlineAt time.Time // when the deadline was last moved on

	mutex   sync.Mutex
	pending []byte        // written by the library, not handed to the socket yet
	wake    chan struct{} // there is something pending
	closed  chan struct{}
	once    sync.Once
}

// dialZookeeperSocket connects; silence of the given length breaks the connection.
func dialZookeeperSocket(network, address string, timeout time.Duration) (net.Conn, error) {
	connection, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	s := &zookeeperSocket{
		Conn:    connection,
		reader:  bufio.NewReaderSize(connection, zookeeperReadBytes),
		timeout: timeout,
		wake:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
	go s.flush()
	return s, nil
}

// Read takes from what has arrived, and waits when that is nothing.
func (s *zookeeperSocket) Read(into []byte) (int, error) {
	if s.reader.Buffered() == 0 {
		if now := time.Now(); now.Sub(s.deadlineAt) > deadlineEvery {
			s.deadlineAt = now
			if err := s.Conn.SetReadDeadline(now.Add(s.timeout)); err != nil {
				return 0, err
			}
		}
	}
	return s.reader.Read(into)
}

// Write never fails and never waits: a socket that cannot be written to is closed, which Read reports.
func (s *zookeeperSocket) Write(data []byte) (int, error) {
	s.mutex.Lock()
	s.pending = append(s.pending, data...)
	s.mutex.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return len(data), nil
}

// flush hands to the socket what is pending, all in one write.
func (s *zookeeperSocket) flush() {
	var batch []byte
	for {
		select {
		case <-s.wake:
		case <-s.closed:
			return
		}
		s.mutex.Lock()
		batch, s.pending = s.pending, batch[:0]
		s.mutex.Unlock()
		if _, err := s.Conn.Write(batch); err != nil {
			s.Close()
			return
		}
	}
}

// Close ends the flushing as well.
func (s *zookeeperSocket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// SetReadDeadline is the library's; Read has deadlines of its own.
func (s *zookeeperSocket) SetReadDeadline(time.Time) error {
	return nil
}

// SetWriteDeadline is the library's; a server that takes nothing answers nothing either.
func (s *zookeeperSocket) SetWriteDeadline(time.Time) error {
	return nil
}
