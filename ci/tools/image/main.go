// Command image packs one static binary into a container image archive, without a base image and without a container
// engine; `image push` makes one image for several architectures of such archives and pushes it. The same inputs give the
// same bytes, on every machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

// run parses the flags, packs or pushes the image and says on stdout what came out.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "push" {
		return push(ctx, args[1:], stdout, stderr)
	}
	s, output, err := parse(args, stderr)
	if err != nil {
		return err
	}
	created, err := createdAt(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	s.created = created
	img, err := build(s)
	if err != nil {
		return err
	}
	changed, err := writeArchive(output, s.name, img)
	if err != nil {
		return err
	}
	return report(stdout, s.name, output, img, changed)
}

func parse(args []string, stderr io.Writer) (spec, string, error) {
	s := spec{labels: map[string]string{}}
	var output string
	set := flag.NewFlagSet("image", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&s.binary, "binary", "", "static Linux binary; its file name becomes the entrypoint")
	set.StringVar(&s.name, "name", "", "image reference with a tag, for example example.com/app:1.0.0")
	set.StringVar(&output, "output", "", "docker-archive tar to write")
	set.StringVar(&s.caCertificates, "ca-certificates", "", "PEM bundle to add as "+caPath+" (default none)")
	set.Func("cmd", "default argument of the entrypoint; may be repeated", appendTo(&s.cmd))
	set.Func("port", "port that the image exposes, for example 8080/tcp; may be repeated", appendTo(&s.ports))
	set.Func("dir", "empty directory that everyone may write to, for example /tmp; may be repeated", appendTo(&s.dirs))
	set.Func("label", "label key=value; may be repeated", func(v string) error {
		key, value, found := strings.Cut(v, "=")
		if !found || key == "" {
			return fmt.Errorf("%q is not key=value", v)
		}
		s.labels[key] = value
		return nil
	})
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, "", err
		}
		return s, "", fmt.Errorf("%w: %w", errUsage, err)
	}
	if set.NArg() > 0 {
		return s, "", fmt.Errorf("%w: unexpected argument %q", errUsage, set.Arg(0))
	}
	required := []struct{ flag, value string }{{"-binary", s.binary}, {"-name", s.name}, {"-output", output}}
	for _, r := range required {
		if r.value == "" {
			return s, "", fmt.Errorf("%w: %s is required", errUsage, r.flag)
		}
	}
	return s, output, nil
}

func appendTo(list *[]string) func(string) error {
	return func(v string) error {
		*list = append(*list, v)
		return nil
	}
}
