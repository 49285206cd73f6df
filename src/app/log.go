package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-zen/zen-lead/src/options"
)

// SetLogger makes everything in the process log through one handler: zen-lead, controller-runtime and client-go.
func SetLogger(output io.Writer, o options.Options) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return fmt.Errorf("failed to parse the log level: %w", err)
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(output, handlerOptions)
	if o.LogFormat == "text" {
		handler = slog.NewTextHandler(output, handlerOptions)
	}
	handler = &calmEnd{handler}
	log.SetLogger(logr.FromSlogHandler(handler))
	klog.SetSlogLogger(slog.New(handler))
	return nil
}

// calmEnd passes on everything as it is, but for one message: at each orderly end controller-runtime reports as an
// error that the Lease was given up, which is what it was asked to do.
type calmEnd struct {
	slog.Handler
}

func (h *calmEnd) Handle(ctx context.Context, record slog.Record) error {
	if record.Message == "error received after stop sequence was engaged" {
		record.Attrs(func(attr slog.Attr) bool {
			if attr.Key == "err" && attr.Value.String() == "leader election lost" {
				record.Level = slog.LevelDebug
			}
			return true
		})
		if !h.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, record)
}

func (h *calmEnd) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &calmEnd{h.Handler.WithAttrs(attrs)}
}

func (h *calmEnd) WithGroup(name string) slog.Handler { return &calmEnd{h.Handler.WithGroup(name)} }
