package main

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryInMemory is a registry's address.
func registryInMemory(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// archives are those of a program for each architecture that is released.
func archives(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, arch := range []string{"amd64", "arm64"} {
		dir := t.TempDir()
		archive := filepath.Join(dir, "app.tar")
		pack(t, arguments(compile(t, dir, "GOARCH="+arch), archive))
		list = append(list, archive)
	}
	return list
}

func pushed(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), append([]string{"push"}, args...), &out, &out); err != nil {
		t.Fatalf("failed to push: %v\n%s", err, out.String())
	}
	return strings.TrimSpace(out.String())
}

func TestPushOfTwoBuildsGivesOneDigest(t *testing.T) {
	host := registryInMemory(t)
	first, second := archives(t), archives(t)
	slices.Reverse(second)
	a := pushed(t, append([]string{"-name", host + "/app:1"}, first...)...)
	b := pushed(t, append([]string{"-name", host + "/app:2"}, second...)...)
	if a != b || !strings.HasPrefix(a, "sha256:") {
		t.Fatalf("digests are %s and %s", a, b)
	}
	for _, suffix := range []string{":1", ":2", "@" + a} {
		reference, err := name.ParseReference(host + "/app" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Index(reference)
		if err != nil {
			t.Fatal(err)
		}
		checkIndex(t, index, a)
	}
}

func checkIndex(t *testing.T, index v1.ImageIndex, digest string) {
	t.Helper()
	if got, err := index.Digest(); err != nil || got.String() != digest {
		t.Errorf("the registry has %s (%v), want %s", got, err, digest)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if file.Architecture != m.Platform.Architecture || file.Config.User != nonRoot {
			t.Errorf("%s: architecture %s, user %s", m.Platform, file.Architecture, file.Config.User)
		}
		if _, found := entries(t, img)["app"]; !found {
			t.Errorf("%s: there is no program in it", m.Platform)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms are %v", platforms)
	}
}

func TestPushRefusals(t *testing.T) {
	built := archives(t)
	for name, test := range map[string]struct {
		args  []string
		usage bool
		says  string
	}{
		"no name":          {[]string{built[0]}, true, "image push -name"},
		"no archive":       {[]string{"-name", "example.com/app:1"}, true, "image push -name"},
		"no tag":           {[]string{"-name", "example.com/app", built[0]}, true, "failed to parse image name"},
		"unknown flag":     {[]string{"-x"}, true, "not defined"},
		"no such archive":  {[]string{"-name", "example.com/app:1", "/not/there.tar"}, false, "failed to read image archive /not/there.tar"},
		"one architecture": {[]string{"-name", "example.com/app:1", built[0], built[0]}, false, "is for linux/amd64, as another archive is"},
		"no registry":      {[]string{"-name", "127.0.0.1:1/app:1", built[0]}, false, "failed to push 127.0.0.1:1/app:1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"push"}, test.args...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.says) || errors.Is(err, errUsage) != test.usage {
				t.Fatalf("says %v, want %q", err, test.says)
			}
		})
	}
}
