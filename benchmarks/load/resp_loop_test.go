package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeServer answers SET and GET from a map. It refuses some requests, and breaks a connection now and
// then in the middle of what was asked.
type fakeServer struct {
	listener    net.Listener
	refuseEvery int // requests; 0 for never
	breakEvery  int // requests; 0 for never

	mutex    sync.Mutex
	requests int
	values   map[string]string
}

func startFakeServer(t *testing.T, refuseEvery, breakEvery int) *fakeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{
		listener: listener, refuseEvery: refuseEvery, breakEvery: breakEvery,
		values: make(map[string]string),
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(connection)
		}
	}()
	return s
}

func (s *fakeServer) serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		words, err := readCommand(reader)
		if err != nil {
			return
		}
		reply, broken := s.answer(words)
		if broken {
			return
		}
		if _, err := io.WriteString(connection, reply); err != nil {
			return
		}
	}
}

func (s *fakeServer) answer(words []string) (reply string, broken bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.requests++
	switch {
	case s.breakEvery > 0 && s.requests%s.breakEvery == 0:
		return "", true
	case s.refuseEvery > 0 && s.requests%s.refuseEvery == 0:
		return "-UNAVAILABLE no leader\r\n", false
	case words[0] == "SET":
		s.values[words[1]] = words[2]
		return "+OK\r\n", false
	}
	value, found := s.values[words[1]]
	if !found {
		return "$-1\r\n", false
	}
	return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), false
}

// readCommand reads one array of bulk strings.
func readCommand(reader *bufio.Reader) ([]string, error) {
	count, err := readNumber(reader, "*")
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		length, err := readNumber(reader, "$")
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(reader, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:length])
	}
	return words, nil
}

func readNumber(reader *bufio.Reader, mark string) (int, error) {
	line, err := reader.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, mark), "\r\n"))
}

// load runs the loop with the given command line, and returns what was recorded.
func load(t *testing.T, arguments ...string) (*recorder, error) {
	t.Helper()
	o, err := parseOptions(append([]string{"--target", "resp"}, arguments...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorder(0)
	loop, err := newRespLoop(o, newWorkload(o.op, o.keys, o.valueBytes, o.seed), r)
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(20*time.Second, r.stop)
	defer watchdog.Stop()
	err = loop.run()
	r.close()
	return r, err
}

func TestFill_WritesEveryKey_WhenRequestsAreRefusedAndConnectionsBreak(t *testing.T) {
	s := startFakeServer(t, 7, 101)
	r, err := load(t, "--endpoints", s.listener.Addr().String(), "--fill", "--keys", "1000",
		"--connections", "3", "--outstanding", "32", "--value-bytes", "50")
	if err != nil {
		t.Fatal(err)
	}
	if r.operations.Load() != 1000 || len(s.values) != 1000 {
		t.Fatalf("%d operations, %d keys", r.operations.Load(), len(s.values))
	}
	if len(s.values["k000000000999"]) != 50 {
		t.Errorf("the last key's value is %q", s.values["k000000000999"])
	}
	if r.errors.Load() == 0 || r.firstErrorText() == "" {
		t.Errorf("%d errors, the first %q", r.errors.Load(), r.firstErrorText())
	}
}

func TestRun_GoesToTheNextEndpoint_WhenOneIsNotThere(t *testing.T) {
	s := startFakeServer(t, 0, 0)
	gone := startFakeServer(t, 0, 0)
	gone.listener.Close()
	r, err := load(t, "--endpoints", gone.listener.Addr().String()+","+s.listener.Addr().String(),
		"--op", "mix", "--keys", "10", "--connections", "2", "--outstanding", "5",
		"--seconds", "0.2", "--warmup-seconds", "0.05")
	if err != nil {
		t.Fatal(err)
	}
	if r.operations.Load() == 0 || r.errors.Load() != 0 {
		t.Errorf("%d operations, %d errors", r.operations.Load(), r.errors.Load())
	}
	if got := int64(r.latencies.total.Load()); got != r.operations.Load() {
		t.Errorf("%d latencies of %d operations", got, r.operations.Load())
	}
}

func TestRun_CountsMisses_WhenNothingWasFilled(t *testing.T) {
	s := startFakeServer(t, 0, 0)
	r, err := load(t, "--endpoints", s.listener.Addr().String(), "--op", "read", "--seconds", "0.1",
		"--warmup-seconds", "0")
	if err != nil {
		t.Fatal(err)
	}
	if r.misses.Load() == 0 || r.misses.Load() != r.operations.Load() {
		t.Errorf("%d misses of %d operations", r.misses.Load(), r.operations.Load())
	}
}

func TestRun_WritesAndReadsWhole_WhenValuesAreLargerThanTheBuffers(t *testing.T) {
	s := startFakeServer(t, 0, 0)
	endpoint := s.listener.Addr().String()
	_, err := load(t, "--endpoints", endpoint, "--fill", "--keys", "20", "--value-bytes", "1000000",
		"--outstanding", "8")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range s.values {
		if len(value) != 1_000_000 {
			t.Fatalf("%s has %d bytes", key, len(value))
		}
	}
	r, err := load(t, "--endpoints", endpoint, "--op", "read", "--keys", "20", "--outstanding", "8",
		"--seconds", "0.2", "--warmup-seconds", "0")
	if err != nil {
		t.Fatal(err)
	}
	if r.operations.Load() == 0 || r.errors.Load() != 0 || r.misses.Load() != 0 {
		t.Errorf("%d operations, %d errors, %d misses",
			r.operations.Load(), r.errors.Load(), r.misses.Load())
	}
}
