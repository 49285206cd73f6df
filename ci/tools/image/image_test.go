package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const reference = "example.com/app:1.0.0"

// compile makes a real binary, because the builder looks into it.
func compile(t *testing.T, dir string, env ...string) string {
	t.Helper()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport _ \"net\"\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, source)
	cmd.Env = append(os.Environ(), append([]string{"GOFLAGS=", "GOOS=linux", "CGO_ENABLED=0"}, env...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("failed to build %s: %v\n%s", source, err, out)
	}
	return binary
}

func arguments(binary, output string) []string {
	return []string{
		"-binary", binary, "-name", reference, "-output", output,
		"-cmd", "pause", "-port", "8080", "-dir", "/tmp", "-dir", "/var/uploads", "-label", "b=2", "-label", "a=1",
	}
}

func pack(t *testing.T, args []string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func load(t *testing.T, archive string) v1.Image {
	t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func entries(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	headers := map[string]*tar.Header{}
	reader := tar.NewReader(content)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
	}
}

func TestTwoBuildsGiveTheSameBytes(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	a, b := compile(t, first), compile(t, second)
	if err := os.Chtimes(b, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b, 0o700); err != nil {
		t.Fatal(err)
	}
	pack(t, arguments(a, filepath.Join(first, "app.tar")))
	pack(t, arguments(b, filepath.Join(second, "app.tar")))
	want, errA := os.ReadFile(filepath.Join(first, "app.tar"))
	got, errB := os.ReadFile(filepath.Join(second, "app.tar"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Fatal("two builds of the same inputs in two directories differ")
	}
}

func TestUnchangedArchiveKeepsItsTime(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "app.tar")
	args := arguments(compile(t, dir), archive)
	if out := pack(t, args); !strings.HasSuffix(out, "written\n") {
		t.Fatalf("first run says %q", out)
	}
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(archive, old, old); err != nil {
		t.Fatal(err)
	}
	if out := pack(t, args); !strings.HasSuffix(out, "unchanged\n") {
		t.Fatalf("second run says %q", out)
	}
	if out := pack(t, append(args, "-label", "c=3")); !strings.HasSuffix(out, "written\n") {
		t.Fatalf("run with another label says %q", out)
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "app.tar")
	pack(t, arguments(compile(t, dir), archive))
	file, err := load(t, archive).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if config.User != "65532:65532" {
		t.Errorf("user is %q", config.User)
	}
	if !slices.Equal(config.Entrypoint, []string{"/app"}) || !slices.Equal(config.Cmd, []string{"pause"}) {
		t.Errorf("entrypoint is %q, cmd is %q", config.Entrypoint, config.Cmd)
	}
	if !maps.Equal(config.Labels, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("labels are %v", config.Labels)
	}
	if _, found := config.ExposedPorts["8080/tcp"]; !found || len(config.ExposedPorts) != 1 {
		t.Errorf("ports are %v", config.ExposedPorts)
	}
	if file.OS != "linux" || file.Architecture == "" || !file.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("platform is %s/%s, created %s", file.OS, file.Architecture, file.Created)
	}
}

func TestLayer(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "app.tar")
	certificates := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(certificates, []byte("not really\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pack(t, append(arguments(compile(t, dir), archive), "-ca-certificates", certificates))
	modes := map[string]int64{}
	for entry, header := range entries(t, load(t, archive)) {
		modes[entry] = header.Mode
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d:%d, time %s", entry, header.Uid, header.Gid, header.ModTime)
		}
	}
	want := map[string]int64{
		"app": 0o755, "tmp/": 0o1777, "var/": 0o755, "var/uploads/": 0o1777,
		"etc/": 0o755, "etc/ssl/": 0o755, "etc/ssl/certs/": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644,
	}
	if len(modes) != len(want) {
		t.Errorf("layer holds %v, want %v", modes, want)
	}
	for entry, mode := range want {
		if modes[entry] != mode && modes[strings.TrimSuffix(entry, "/")] != mode {
			t.Errorf("%s: mode %o, want %o", entry, modes[entry], mode)
		}
	}
}

func TestArchitectureComesFromTheBinary(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "app.tar")
	pack(t, arguments(compile(t, dir, "GOARCH=arm64"), archive))
	file, err := load(t, archive).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Architecture != "arm64" {
		t.Errorf("architecture is %s", file.Architecture)
	}
}

func TestSourceDateEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := t.TempDir()
	archive := filepath.Join(dir, "app.tar")
	pack(t, arguments(compile(t, dir), archive))
	file, err := load(t, archive).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Created.Unix() != 1700000000 {
		t.Errorf("created is %s", file.Created)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := run(t.Context(), arguments(filepath.Join(dir, "app"), archive), io.Discard, io.Discard); err == nil {
		t.Error("a SOURCE_DATE_EPOCH that is no number was accepted")
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	binary := compile(t, dir)
	archive := filepath.Join(dir, "app.tar")
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"no binary":        {[]string{"-name", reference, "-output", archive}, "-binary is required"},
		"no name":          {[]string{"-binary", binary, "-output", archive}, "-name is required"},
		"name without tag": {[]string{"-binary", binary, "-output", archive, "-name", "example.com/app"}, "failed to parse image name"},
		"label":            {append(arguments(binary, archive), "-label", "novalue"), "is not key=value"},
		"extra argument":   {append(arguments(binary, archive), "more"), `unexpected argument "more"`},
		"not a binary":     {arguments(script, archive), "as a Linux binary"},
		"missing binary":   {arguments(filepath.Join(dir, "none"), archive), "no such file"},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			err := run(t.Context(), test.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one that says %q", err, test.want)
			}
		})
	}
}

func TestDynamicBinaryIsRefused(t *testing.T) {
	// A shared library loader is named by every dynamically linked program, the shell among them.
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), arguments(shell, filepath.Join(t.TempDir(), "app.tar")), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("error is %v, want one that says that the binary is linked dynamically", err)
	}
}
