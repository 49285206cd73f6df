package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that takes part, as a process of its own.
type process struct {
	name    string
	metrics string
	probes  string
	started time.Time

	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func startProcess(name, dir, path string, args ...string) (*process, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("failed to create a log for %s: %w", name, err)
	}
	p := &process{name: name, log: log.Name(), done: make(chan struct{}), started: time.Now()}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to start %s: %w", name, err), log.Close())
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	return p, log.Close() // the child has its own copy
}

// kill ends the process without a chance to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate asks the process to end, and waits until it did.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("failed to end %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		p.kill()
		return fmt.Errorf("%s did not end within 30s of being asked to", p.name)
	}
}

// waitReady returns how long after its start the process said that it is ready.
func (p *process) waitReady(ctx context.Context, patience time.Duration) (time.Duration, error) {
	err := poll(ctx, patience, 5*time.Millisecond, func() (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("%s ended by itself:\n%s", p.name, p.tail())
		default:
		}
		_, err := fetch(p.probes + "/readyz")
		return err == nil, nil
	})
	if err != nil {
		return 0, fmt.Errorf("%s is not ready: %w", p.name, err)
	}
	return time.Since(p.started), nil
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const tail = 3000
	return string(text[max(0, len(text)-tail):])
}

// memory is the resident memory of a process in bytes: now, at its highest, and now without the pages of its binary,
// which the processes of one image share.
type memory struct {
	now, peak, own int64
}

func (p *process) memory() (m memory, err error) {
	file, err := os.Open(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return m, fmt.Errorf("failed to read the memory of %s: %w", p.name, err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			m.now = kilobytes * 1024
		case "VmHWM:":
			m.peak = kilobytes * 1024
		case "RssAnon:":
			m.own = kilobytes * 1024
		}
	}
	return m, nil
}

// cpu is the processor time that the process has used so far.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("failed to read the CPU time of %s: %w", p.name, err)
	}
	// The name, in parentheses, may hold anything; the fields after it are numbered from 3.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("failed to read the CPU time of %s: %q", p.name, text)
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(user+system) * time.Second / ticks, nil
}

// counter is the sum of a counter's series whose labels contain all the words.
func (p *process) counter(name string, words ...string) (float64, error) {
	text, err := fetch(p.metrics)
	if err != nil {
		return 0, fmt.Errorf("failed to read the metrics of %s: %w", p.name, err)
	}
	var sum float64
next:
	for line := range strings.Lines(text) {
		series, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, word := range words {
			if !strings.Contains(series, word) {
				continue next
			}
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("failed to read metric %s of %s: %w", name, p.name, err)
		}
		sum += number
	}
	return sum, nil
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(text), err
}

// poll asks until the answer is yes, an error, or patience ends.
func poll(ctx context.Context, patience, every time.Duration, ask func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing came of it within %s", patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

func freeAddresses() (first, second string, err error) {
	var addresses [2]string
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", fmt.Errorf("failed to find a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		addresses[i] = listener.Addr().String()
	}
	return addresses[0], addresses[1], nil
}
