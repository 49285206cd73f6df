package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// controllerImage is what ci/images.sh makes of a copy of the sources.
func controllerImage(t *testing.T, root string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"src", "ci/images.sh", "charts/zen-lead/Chart.yaml", "go.mod", "go.sum"} {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "cp", "-r", filepath.Join(root, name), target)
	}
	command(t, "go", "build", "-o", filepath.Join(dir, "bin", "image"), ".")
	command(t, filepath.Join(dir, "ci", "images.sh"), "zen-lead")
	img, err := tarball.ImageFromPath(filepath.Join(dir, "bin", "images", "zen-lead.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// What is released is the program alone, for a user who is not root; and whoever has the sources can make the same bytes.
func TestControllersImage(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	a, b := controllerImage(t, root), controllerImage(t, root)
	digests := [2]v1.Hash{}
	for i, img := range []v1.Image{a, b} {
		if digests[i], err = img.Digest(); err != nil {
			t.Fatal(err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("builds in two directories differ: %v", digests)
	}
	var names []string
	for name, header := range entries(t, a) {
		names = append(names, name)
		if header.Uid != 0 || header.Mode != 0o755 {
			t.Errorf("%s: owner %d, mode %o: the user of the image could write it", name, header.Uid, header.Mode)
		}
	}
	if !slices.Equal(names, []string{"zen-lead"}) {
		t.Errorf("the image holds %v, want the program alone", names)
	}
	file, err := a.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Config.User != "65532:65532" || !slices.Equal(file.Config.Entrypoint, []string{"/zen-lead"}) {
		t.Errorf("user %s, entrypoint %v", file.Config.User, file.Config.Entrypoint)
	}
	for _, label := range []string{"title", "description", "version", "source", "licenses"} {
		if file.Config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("label org.opencontainers.image.%s is missing", label)
		}
	}
}
