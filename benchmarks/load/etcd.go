package main

import (
	"context"

	"go.etcd.io/etcd/clientv3"
	pb "go.etcd.io/etcd/etcdserver/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/connectivity"
)

// etcdSession is one client of etcd's own library, and so one HTTP/2 connection. Calls go to the
// generated stub on that connection: the layer above it would copy keys and values into new strings
// and back for nothing.
type etcdSession struct {
	client *clientv3.Client
	kv     pb.KVClient
}

func dialEtcd(o options, endpoint int) (session, error) {
	quiet := zap.NewProductionConfig()
	quiet.Level = zap.NewAtomicLevelAt(zap.FatalLevel)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: o.endpoints[endpoint : endpoint+1],
		LogConfig: &quiet,
	})
	if err != nil {
		return nil, err
	}
	return &etcdSession{client: client, kv: pb.NewKVClient(client.ActiveConnection())}, nil
}

func (s *etcdSession) write(ctx context.Context, key, value []byte) error {
	_, err := s.kv.Put(ctx, &pb.PutRequest{Key: key, Value: value})
	return err
}

// read is a Range as clients make it by default: linearizable.
func (s *etcdSession) read(ctx context.Context, key []byte) (bool, error) {
	response, err := s.kv.Range(ctx, &pb.RangeRequest{Key: key})
	if err != nil {
		return false, err
	}
	return len(response.Kvs) > 0, nil
}

// syncRead is read: reads of etcd need no sync.
func (s *etcdSession) syncRead(ctx context.Context, key []byte) (bool, error) {
	return s.read(ctx, key)
}

// usable says whether the connection stands: then the error was the server's word, which another
// connection would not change.
func (s *etcdSession) usable() bool {
	return s.client.ActiveConnection().GetState() == connectivity.Ready
}

func (s *etcdSession) close() {
	// The connection is given up, in whatever state it is.
	_ = s.client.Close()
}
