// Command load is the load generator of the benchmarks: a closed loop against servers that speak
// RESP, against etcd, or against ZooKeeper, with the same workload and the same measurement for all.
//
// It shares its processors with the servers that it measures, so it is built to use as little of them
// as it can. It prints one JSON object on standard output, and everything else on standard error.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// gcPercent lets the heap grow to nine times what is in use before it is collected: what is in use is
// a few megabytes, and a collection takes processor time from the servers.
const gcPercent = 800

// driver runs the load against one kind of server until the recorder's window has ended.
type driver interface {
	run() error
	// unanswered is how many requests were still without an answer when run returned.
	unanswered() int
}

func newDriver(o options, load *workload, r *recorder) (driver, error) {
	switch o.target {
	case "resp":
		return newRespLoop(o, load, r)
	case "etcd":
		return newSessionDriver(o, load, r, dialEtcd), nil
	default:
		return newSessionDriver(o, load, r, dialZookeeper), nil
	}
}

// run measures once, prints the result, and returns the exit status: 0 done, 1 nothing was
// acknowledged or a fill did not end, 2 wrong usage.
func run() int {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 2
	}
	runtime.GOMAXPROCS(o.procs)
	debug.SetGCPercent(gcPercent)
	timelineSeconds := 0.0
	if o.timeline {
		timelineSeconds = o.seconds
	}
	r := newRecorder(timelineSeconds)
	d, err := newDriver(o, newWorkload(o.op, o.keys, o.valueBytes, o.seed), r)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	stopWhenTold(r, o.stopOnStdin)
	if err := d.run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	r.close()
	result := newResult(o, r, d.unanswered())
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	if result.Operations == 0 || o.fill && uint64(result.Operations) < o.keys {
		return 1
	}
	return 0
}

// stopWhenTold ends the window at the first SIGINT or SIGTERM and, if asked, when standard input
// says anything or closes.
func stopWhenTold(r *recorder, stdin bool) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		r.stop()
	}()
	if stdin {
		go func() {
			// What it says, and how it ends, is all the same.
			_, _ = os.Stdin.Read(make([]byte, 1))
			r.stop()
		}()
	}
}

func main() {
	os.Exit(run())
}
