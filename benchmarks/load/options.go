package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// options is one run, as the command line says it, checked whole.
type options struct {
	target      string
	endpoints   []string
	op          operation
	connections int
	outstanding int
	valueBytes  int
	keys        uint64
	seconds     float64
	warmup      float64
	seed        uint64
	fill        bool
	timeline    bool
	stopOnStdin bool
	procs       int
	timeout     time.Duration
}

// parseOptions reads the command line. Its error says which option is wrong and what would be good.
func parseOptions(arguments []string, usage io.Writer) (options, error) {
	var o options
	var endpoints, op string
	var timeoutSeconds float64
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.target, "target", "", "resp, etcd or zookeeper")
	flags.StringVar(&endpoints, "endpoints", "", "host:port,host:port,...; connection i begins at endpoint i")
	flags.StringVar(&op, "op", "write", "write, read, mix (95 % reads) or syncread (zookeeper: sync, then get)")
	flags.IntVar(&o.connections, "connections", 1, "connections, each to one endpoint")
	flags.IntVar(&o.outstanding, "outstanding", 1, "requests outstanding on all connections together")
	flags.IntVar(&o.valueBytes, "value-bytes", 256, "bytes in a value")
	flags.Uint64Var(&o.keys, "keys", 10_000, "how many keys there are")
	flags.Float64Var(&o.seconds, "seconds", 10, "how long to measure")
	flags.Float64Var(&o.warmup, "warmup-seconds", 1, "how long to load before measuring")
	flags.Uint64Var(&o.seed, "seed", 1, "the seed of keys, values and the mix")
	flags.BoolVar(&o.fill, "fill", false, "write each key once, in order, and end; --op and times unused")
	flags.BoolVar(&o.timeline, "timeline", false, "count acknowledgements per 10 ms")
	flags.BoolVar(&o.stopOnStdin, "stop-on-stdin", false, "end when standard input says anything, or closes")
	flags.IntVar(&o.procs, "procs", 0, "processors to use; 0: one for resp, two for the others")
	flags.Float64Var(&timeoutSeconds, "timeout-seconds", 30, "silence after which a connection is given up")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not an option", flags.Arg(0))
	}
	o.op = operation(op)
	o.timeout = time.Duration(timeoutSeconds * float64(time.Second))
	if endpoints != "" {
		o.endpoints = strings.Split(endpoints, ",")
	}
	if o.fill {
		o.op = opWrite
	}
	return o, o.check()
}

// check says what is wrong with the options, and fills in the processors where they were left open.
func (o *options) check() error {
	switch o.target {
	case "resp", "etcd", "zookeeper":
	default:
		return fmt.Errorf("--target %q: want resp, etcd or zookeeper", o.target)
	}
	switch o.op {
	case opWrite, opRead, opMix:
	case opSyncRead:
		if o.target != "zookeeper" {
			return fmt.Errorf("--op syncread is for zookeeper alone: reads of %s are linearizable", o.target)
		}
	default:
		return fmt.Errorf("--op %q: want write, read, mix or syncread", o.op)
	}
	if len(o.endpoints) == 0 {
		return errors.New("--endpoints: want at least one host:port")
	}
	for _, endpoint := range o.endpoints {
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			return fmt.Errorf("--endpoints: %q: want host:port", endpoint)
		}
	}
	if o.connections < 1 || o.connections > 100_000 {
		return fmt.Errorf("--connections %d: want 1 to 100000", o.connections)
	}
	if o.outstanding < o.connections || o.outstanding > 1_000_000 {
		return fmt.Errorf("--outstanding %d: want %d (one per connection) to 1000000", o.outstanding, o.connections)
	}
	if o.valueBytes < 1 || o.valueBytes > 64*1024*1024 {
		return fmt.Errorf("--value-bytes %d: want 1 to 67108864", o.valueBytes)
	}
	if o.keys < 1 || o.keys > keysMax {
		return fmt.Errorf("--keys %d: want 1 to %d", o.keys, uint64(keysMax))
	}
	if !(o.seconds > 0 && o.seconds <= 86_400) {
		return fmt.Errorf("--seconds %v: want more than 0, at most 86400", o.seconds)
	}
	if !(o.warmup >= 0 && o.warmup <= 86_400) {
		return fmt.Errorf("--warmup-seconds %v: want 0 to 86400", o.warmup)
	}
	if o.timeout < 100*time.Millisecond || o.timeout > time.Hour {
		return fmt.Errorf("--timeout-seconds %v: want 0.1 to 3600", o.timeout.Seconds())
	}
	if o.procs < 0 || o.procs > 1024 {
		return fmt.Errorf("--procs %d: want 0 to 1024", o.procs)
	}
	if o.procs == 0 {
		o.procs = 2
		if o.target == "resp" {
			o.procs = 1
		}
	}
	return nil
}

// window is how long to load before measuring, and how long to measure, in seconds. A fill is measured
// from its first key to its last, which is told as 0.
func (o *options) window() (warmup, seconds float64) {
	if o.fill {
		return 0, 0
	}
	return o.warmup, o.seconds
}

// share is how many of the outstanding requests connection number i has.
func (o *options) share(i int) int {
	each := o.outstanding / o.connections
	if i < o.outstanding%o.connections {
		return each + 1
	}
	return each
}
