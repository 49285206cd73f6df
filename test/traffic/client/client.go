// Package client sends requests at a fixed rate and records what became of each.
//
// It is an open loop: when a request is due it is sent, whatever became of the ones before, as the requests of many
// independent users are. A closed loop would send nothing while a request hangs, and so miss most of an outage.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// Config is what a client does.
type Config struct {
	Target      string // the target's name in the report
	URL         string
	Interval    time.Duration // between the starts of two requests
	Timeout     time.Duration // of one request, name resolution included
	MaxInFlight int
	Flush       time.Duration // longest time that answers stay unreported
}

// Validate tells what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case c.Interval < time.Millisecond:
		return fmt.Errorf("interval %s: must be 1ms or more", c.Interval)
	case c.Timeout <= 0:
		return fmt.Errorf("timeout %s: must be positive", c.Timeout)
	case c.MaxInFlight < 1:
		return errors.New("requests in flight: must be 1 or more")
	case c.Flush <= 0:
		return fmt.Errorf("flush interval %s: must be positive", c.Flush)
	}
	return nil
}

// Run sends requests until ctx is done, waits for the answers of those in flight and returns the summary, which emit
// has had too.
func Run(ctx context.Context, config Config, ask Ask, emit func(report.Line)) report.Summary {
	now := time.Now()
	start := report.Start{At: now, URL: config.URL, Interval: report.Millis(config.Interval), Timeout: report.Millis(config.Timeout)}
	l := &loop{
		config: config,
		ask:    ask,
		tally:  report.NewTally(config.Target, start, config.Flush, emit),
		slots:  make(chan struct{}, config.MaxInFlight),
	}
	l.send(ctx, now)
	l.inFlight.Wait()
	return l.tally.Close(time.Now())
}

type loop struct {
	config   Config
	ask      Ask
	slots    chan struct{}
	inFlight sync.WaitGroup

	mu    sync.Mutex
	tally *report.Tally
}

func (l *loop) send(ctx context.Context, due time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		l.sendOne(context.WithoutCancel(ctx))
		due = due.Add(l.config.Interval)
		// What was missed is not made up for: a burst would be another load than the one promised.
		if behind := time.Since(due); behind >= l.config.Interval {
			missed := behind / l.config.Interval
			due = due.Add(missed * l.config.Interval)
			l.record(func(t *report.Tally, _ time.Time) { t.Late(int(missed)) })
		}
		timer.Reset(time.Until(due))
	}
}

func (l *loop) sendOne(ctx context.Context) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.record(func(t *report.Tally, _ time.Time) { t.Unsent() })
		return
	}
	var start time.Time
	l.record(func(t *report.Tally, now time.Time) {
		start = now
		t.Sent(now)
	})
	l.inFlight.Go(func() {
		defer func() { <-l.slots }()
		ctx, cancel := context.WithTimeout(ctx, l.config.Timeout)
		defer cancel()
		by, err := l.ask(ctx)
		l.record(func(t *report.Tally, now time.Time) {
			if err != nil {
				t.Failure(start, now, Classify(err), err.Error())
				return
			}
			t.Answer(start, now, by)
		})
	})
}

// record reads the clock under the lock: the tally wants the requests in the order in which they ended.
func (l *loop) record(what func(t *report.Tally, now time.Time)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what(l.tally, time.Now())
}
