//go:build !linux

package client

import (
	"syscall"
	"time"
)

// userTimeout does nothing where there is no TCP_USER_TIMEOUT.
func userTimeout(time.Duration) func(network, address string, raw syscall.RawConn) error { return nil }
