package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// image is an image reference as the chart takes it.
type image struct {
	repository string
	kind       string // "tag" or "digest"
	version    string
}

func splitImage(reference string) (image, error) {
	if repository, digest, found := strings.Cut(reference, "@"); found && repository != "" && digest != "" {
		return image{repository, "digest", digest}, nil
	}
	// A colon before the last slash is a registry's port.
	if i := strings.LastIndex(reference, ":"); i > 0 && i > strings.LastIndex(reference, "/") && i < len(reference)-1 {
		return image{reference[:i], "tag", reference[i+1:]}, nil
	}
	return image{}, fmt.Errorf("image %q: must be REPOSITORY:TAG or REPOSITORY@DIGEST", reference)
}

// environment returns the lines that a reader's shell needs so that the same cluster and the same kubectl are used.
func environment() []string {
	folder, err := os.Getwd()
	if err != nil {
		return nil
	}
	var exports []string
	if path := os.Getenv("KUBECONFIG"); strings.HasPrefix(path, folder+string(filepath.Separator)) {
		exports = append(exports, "export KUBECONFIG=$PWD"+strings.TrimPrefix(path, folder))
	}
	if kubectl, err := exec.LookPath("kubectl"); err == nil && filepath.Dir(kubectl) == filepath.Join(folder, "bin") {
		exports = append(exports, "export PATH=$PWD/bin:$PATH")
	}
	return exports
}
