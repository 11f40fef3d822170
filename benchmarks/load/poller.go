package main

import (
	"fmt"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// poller waits for sockets with epoll, by raw system calls: one wake-up costs one epoll_wait and one
// read. The runtime's own network poller would add a read that finds nothing, and its scheduler, to
// each. What it blocks is the only goroutine that has anything to do; others (standard input, signals)
// get their turn when the runtime preempts it, which is every ten milliseconds.
type poller struct {
	fd     int
	events [256]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &poller{fd: fd}, nil
}

// add watches a socket for what arrives and, while it is connecting or its buffer is full, for being
// writable. The tag comes back in the event.
func (p *poller) add(fd int, tag int32, writable bool) error {
	return p.control(syscall.EPOLL_CTL_ADD, fd, tag, writable)
}

// change says anew whether to wait until a socket is writable.
func (p *poller) change(fd int, tag int32, writable bool) error {
	return p.control(syscall.EPOLL_CTL_MOD, fd, tag, writable)
}

func (p *poller) control(what, fd int, tag int32, writable bool) error {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: tag}
	if writable {
		event.Events |= syscall.EPOLLOUT
	}
	if err := syscall.EpollCtl(p.fd, what, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// wait returns the events there are, after at most the given time. A signal ends it early.
func (p *poller) wait(most time.Duration) ([]syscall.EpollEvent, error) {
	milliseconds := (most + time.Millisecond - 1) / time.Millisecond
	count, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(milliseconds), 0, 0)
	switch errno {
	case 0:
		return p.events[:count], nil
	case syscall.EINTR:
		return nil, nil
	default:
		return nil, fmt.Errorf("epoll_wait: %w", errno)
	}
}

// readSocket and writeSocket never block: the sockets are non-blocking.
func readSocket(fd int, into []byte) (int, syscall.Errno) {
	return rawTransfer(syscall.SYS_READ, fd, into)
}

func writeSocket(fd int, from []byte) (int, syscall.Errno) {
	return rawTransfer(syscall.SYS_WRITE, fd, from)
}

func rawTransfer(call uintptr, fd int, data []byte) (int, syscall.Errno) {
	count, _, errno := syscall.RawSyscall(
		call, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if errno != 0 {
		return 0, errno
	}
	return int(count), 0
}

// address is a resolved endpoint.
type address struct {
	family   int
	sockaddr syscall.Sockaddr
	text     string
}

func resolve(endpoint string) (address, error) {
	resolved, err := net.ResolveTCPAddr("tcp", endpoint)
	if err != nil {
		return address{}, err
	}
	if ip := resolved.IP.To4(); ip != nil {
		sockaddr := &syscall.SockaddrInet4{Port: resolved.Port}
		copy(sockaddr.Addr[:], ip)
		return address{syscall.AF_INET, sockaddr, endpoint}, nil
	}
	sockaddr := &syscall.SockaddrInet6{Port: resolved.Port}
	copy(sockaddr.Addr[:], resolved.IP.To16())
	return address{syscall.AF_INET6, sockaddr, endpoint}, nil
}

// dialSocket starts to connect; the socket becomes writable when that is done or has failed.
func dialSocket(to address) (int, error) {
	fd, err := syscall.Socket(to.family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err == nil {
		err = syscall.Connect(fd, to.sockaddr)
	}
	if err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dialResult is how connecting ended: nil when the socket is connected.
func dialResult(fd int) error {
	code, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return err
	}
	if code != 0 {
		return syscall.Errno(code)
	}
	return nil
}
