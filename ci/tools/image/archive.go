package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeArchive writes a docker-archive, which docker, containerd and kind all load. A file that already has these very
// bytes keeps its time, so that what depends on it is not done again.
func writeArchive(output, reference string, img v1.Image) (changed bool, err error) {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return false, fmt.Errorf("failed to parse image name %s: %w", reference, err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		return false, fmt.Errorf("failed to make archive of %s: %w", reference, err)
	}
	existing, err := os.ReadFile(output)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("failed to read %s: %w", output, err)
	}
	if err == nil && bytes.Equal(existing, archive.Bytes()) {
		return false, nil
	}
	return true, replace(output, archive.Bytes())
}

// replace never leaves half a file under the final name.
func replace(output string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return fmt.Errorf("failed to make directory of %s: %w", output, err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(output), ".image-*")
	if err != nil {
		return fmt.Errorf("failed to write %s: %w", output, err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return fmt.Errorf("failed to write %s: %w", output, err)
	}
	if err := os.Rename(temporary.Name(), output); err != nil {
		return fmt.Errorf("failed to write %s: %w", output, err)
	}
	return nil
}

func report(w io.Writer, reference, output string, img v1.Image, changed bool) error {
	digest, err := img.ConfigName()
	if err != nil {
		return fmt.Errorf("failed to compute id of %s: %w", reference, err)
	}
	info, err := os.Stat(output)
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", output, err)
	}
	state := "unchanged"
	if changed {
		state = "written"
	}
	_, err = fmt.Fprintf(w, "%s  %s  id %s  %.1f MB  %s\n", output, reference, digest, float64(info.Size())/1e6, state)
	return err
}
