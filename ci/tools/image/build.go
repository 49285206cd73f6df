package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	caPath = "/etc/ssl/certs/ca-certificates.crt"
	// Numeric, because the kubelet cannot tell that a name is not root. With its group: the runtime looks up the group
	// of a bare user id in /etc/passwd, and falls back to root's where the image has no such file.
	nonRoot = "65532:65532"
)

type spec struct {
	binary         string
	name           string
	cmd            []string
	ports          []string
	dirs           []string
	labels         map[string]string
	caCertificates string
	created        time.Time
}

// createdAt follows the convention for reproducible builds: SOURCE_DATE_EPOCH if set, otherwise the epoch itself.
func createdAt(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse SOURCE_DATE_EPOCH %q: it must be seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// build makes a one-layer image. Nothing in it depends on the machine but the binary's own bytes.
func build(s spec) (v1.Image, error) {
	architecture, err := staticArchitecture(s.binary)
	if err != nil {
		return nil, err
	}
	content, err := layerTar(s)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to make layer of %s: %w", s.binary, err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: s.created}, CreatedBy: "zen-lead image builder"},
	})
	if err != nil {
		return nil, fmt.Errorf("failed to append layer of %s: %w", s.binary, err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("failed to read config of %s: %w", s.name, err)
	}
	return mutate.ConfigFile(img, configure(file.DeepCopy(), s, architecture))
}

func configure(file *v1.ConfigFile, s spec, architecture string) *v1.ConfigFile {
	file.OS = "linux"
	file.Architecture = architecture
	file.Created = v1.Time{Time: s.created}
	file.Config = v1.Config{
		User:         nonRoot,
		Entrypoint:   []string{"/" + filepath.Base(s.binary)},
		Cmd:          s.cmd,
		Env:          []string{"PATH=/"},
		WorkingDir:   "/",
		Labels:       s.labels,
		ExposedPorts: exposed(s.ports),
	}
	return file
}

func exposed(ports []string) map[string]struct{} {
	set := make(map[string]struct{}, len(ports))
	for _, port := range ports {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		set[port] = struct{}{}
	}
	return set
}

// layerTar holds the binary, and what was asked for beside it, owned by root and so read-only for the image's user.
func layerTar(s spec) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	dirs := map[string]int64{}
	for _, dir := range s.dirs {
		dirs[path.Clean("/"+dir)] = 0o1777
	}
	files := []file{{source: s.binary, target: "/" + filepath.Base(s.binary), mode: 0o755}}
	if s.caCertificates != "" {
		files = append(files, file{source: s.caCertificates, target: caPath, mode: 0o644})
	}
	for _, f := range files {
		addParents(dirs, f.target)
	}
	for dir := range dirs {
		addParents(dirs, dir)
	}
	if err := writeDirs(w, dirs, s.created); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := writeFile(w, f, s.created); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("failed to close layer of %s: %w", s.binary, err)
	}
	return buffer.Bytes(), nil
}

type file struct {
	source, target string
	mode           int64
}

func addParents(dirs map[string]int64, target string) {
	for dir := path.Dir(target); dir != "/"; dir = path.Dir(dir) {
		if _, known := dirs[dir]; !known {
			dirs[dir] = 0o755
		}
	}
}

func writeDirs(w *tar.Writer, dirs map[string]int64, created time.Time) error {
	names := make([]string, 0, len(dirs))
	for dir := range dirs {
		names = append(names, dir)
	}
	sort.Strings(names)
	for _, dir := range names {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: dirs[dir], ModTime: created}
		if err := w.WriteHeader(header); err != nil {
			return fmt.Errorf("failed to add directory %s: %w", dir, err)
		}
	}
	return nil
}

func writeFile(w *tar.Writer, f file, created time.Time) error {
	content, err := os.ReadFile(f.source)
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", f.source, err)
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.target, "/"), Mode: f.mode, Size: int64(len(content)), ModTime: created,
	}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("failed to add file %s: %w", f.target, err)
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("failed to add file %s: %w", f.target, err)
	}
	return nil
}

// staticArchitecture refuses what could not start in an empty image, and names the architecture in Go's words.
func staticArchitecture(binary string) (string, error) {
	f, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("failed to read %s as a Linux binary: %w", binary, err)
	}
	defer f.Close()
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is linked dynamically and cannot start in an image without a base: build it with CGO_ENABLED=0", binary)
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	default:
		return "", fmt.Errorf("%s is built for %s: only amd64 and arm64 images are made", binary, f.Machine)
	}
}
