package chart

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// shell runs commands as somebody whom Helm does not know yet.
type shell struct {
	t   *testing.T
	env []string
}

func newShell(t *testing.T) shell {
	t.Helper()
	home := t.TempDir()
	return shell{t: t, env: append(os.Environ(), "HELM_CACHE_HOME="+home+"/cache", "HELM_CONFIG_HOME="+home+"/config", "HELM_DATA_HOME="+home+"/data")}
}

func (s shell) try(name string, args ...string) (string, error) {
	command := exec.CommandContext(s.t.Context(), name, args...)
	command.Env = s.env
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return string(out) + stderr.String(), err
	}
	return string(out), nil
}

func (s shell) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	require.NoError(s.t, err, "%s %v: %s", name, args, out)
	return out
}

// template renders a chart, wherever it is.
func (s shell) template(args ...string) string {
	s.t.Helper()
	return s.run("helm", append([]string{"template", release, "--namespace", namespace}, args...)...)
}

// repository is what `make chart-repo` makes, with these variables set.
func repository(t *testing.T, env ...string) (dir, said string) {
	t.Helper()
	dir = t.TempDir()
	s := newShell(t)
	s.env = append(s.env, append(env, "CHART_REPO_DIR="+dir)...)
	return dir, s.run("../../ci/chart-repo.sh")
}

func archive(t *testing.T) string { t.Helper(); return "zen-lead-" + chart(t).Version + ".tgz" }

func TestRepository(t *testing.T) {
	t.Parallel()
	dir, said := repository(t)
	assert.Contains(t, said, "unsigned")
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	s := newShell(t)
	s.run("helm", "repo", "add", "zen-lead", server.URL)
	assert.Equal(t, s.template(chartDir), s.template("zen-lead/zen-lead", "--version", chart(t).Version))
	assert.Contains(t, s.run("helm", "search", "repo", "zen-lead"), chart(t).Version)
	pulled := t.TempDir()
	s.run("helm", "pull", "zen-lead/zen-lead", "--destination", pulled)
	assert.Equal(t, s.template(chartDir), s.template(filepath.Join(pulled, archive(t))))
}

func TestPackageHoldsWhatUsersNeed(t *testing.T) {
	t.Parallel()
	dir, _ := repository(t)
	file, err := os.Open(filepath.Join(dir, archive(t)))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	require.NoError(t, err)
	var names []string
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, strings.TrimPrefix(header.Name, "zen-lead/"))
	}
	assert.Subset(t, names, []string{"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "files/alerts.yaml", "files/dashboard.json", "templates/NOTES.txt"})
	for _, name := range names {
		assert.NotRegexp(t, `^ci/|\.gotmpl$|^icon\.svg$`, name)
	}
}

func TestIndexKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const old = "apiVersion: v1\nentries:\n  zen-lead:\n    - {name: zen-lead, version: 0.0.1, apiVersion: v2, urls: [https://example.com/old.tgz]}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.yaml"), []byte(old), 0o600))
	s := newShell(t)
	s.env = append(s.env, "CHART_REPO_DIR="+dir, "CHART_REPO_URL=https://example.com/charts")
	for range 2 {
		s.run("../../ci/chart-repo.sh")
	}
	content, err := os.ReadFile(filepath.Join(dir, "index.yaml"))
	require.NoError(t, err)
	var index struct {
		Entries map[string][]struct {
			Version string   `json:"version"`
			URLs    []string `json:"urls"`
		} `json:"entries"`
	}
	require.NoError(t, yaml.Unmarshal(content, &index))
	urls := map[string][]string{}
	for _, entry := range index.Entries["zen-lead"] {
		urls[entry.Version] = entry.URLs
	}
	assert.Len(t, index.Entries["zen-lead"], 2)
	assert.Equal(t, map[string][]string{"0.0.1": {"https://example.com/old.tgz"}, chart(t).Version: {"https://example.com/charts/" + archive(t)}}, urls)
}

// keys makes a key, and writes it as rings of secret and public keys.
func keys(t *testing.T, name string) (secret, public string) {
	t.Helper()
	entity, err := openpgp.NewEntity(name, "", name+"@example.com", nil)
	require.NoError(t, err)
	dir := t.TempDir()
	secret, public = filepath.Join(dir, "secret.gpg"), filepath.Join(dir, "public.gpg")
	for path, serialize := range map[string]func(io.Writer) error{
		secret: func(w io.Writer) error { return entity.SerializePrivate(w, nil) },
		public: entity.Serialize,
	} {
		file, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, serialize(file))
		require.NoError(t, file.Close())
	}
	return secret, public
}

func TestProvenance(t *testing.T) {
	t.Parallel()
	secret, public := keys(t, "publisher")
	_, stranger := keys(t, "stranger")
	dir, said := repository(t, "HELM_SIGN_KEY=publisher", "HELM_KEYRING="+secret)
	assert.Contains(t, said, "signed it as publisher")
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	s := newShell(t)
	s.run("helm", "repo", "add", "zen-lead", server.URL)
	pull := func(ring string) (string, error) {
		return s.try("helm", "pull", "zen-lead/zen-lead", "--verify", "--keyring", ring, "--destination", t.TempDir())
	}
	out, err := pull(public)
	require.NoError(t, err, out)
	assert.Contains(t, out, "publisher@example.com")
	_, err = pull(stranger)
	require.Error(t, err, "signed by somebody else")

	path := filepath.Join(dir, archive(t))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o600))
	out, err = pull(public)
	require.Error(t, err, "the package was tampered with")
	assert.Contains(t, out, "sha256 sum does not match")
}

func TestRepositoryProvesItselfToArtifactHub(t *testing.T) {
	t.Parallel()
	const id = "0a1b2c3d-0000-4000-8000-0123456789ab"
	dir, _ := repository(t, "ARTIFACTHUB_ID="+id)
	content, err := os.ReadFile(filepath.Join(dir, "artifacthub-repo.yml"))
	require.NoError(t, err)
	var metadata map[string]any
	require.NoError(t, yaml.UnmarshalStrict(content, &metadata))
	assert.Equal(t, map[string]any{"repositoryID": id}, metadata)
	without, _ := repository(t)
	assert.NoFileExists(t, filepath.Join(without, "artifacthub-repo.yml"))
}

func TestRepositoryTakesNoHalfSettings(t *testing.T) {
	for env, says := range map[string]string{
		"HELM_SIGN_KEY=a": "HELM_KEYRING is empty", "HELM_KEYRING=/a": "HELM_SIGN_KEY is empty", "HELM_SIGN_KEY=a HELM_KEYRING=/not/there": "cannot be read",
		"ARTIFACTHUB_ID=zen-lead": "no UUID",
	} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.env = append(s.env, append(strings.Fields(env), "CHART_REPO_DIR="+t.TempDir())...)
			out, err := s.try("../../ci/chart-repo.sh")
			require.Error(t, err)
			assert.Contains(t, out, says)
		})
	}
}

func TestOCIRegistry(t *testing.T) {
	t.Parallel()
	secret, public := keys(t, "publisher")
	dir, _ := repository(t, "HELM_SIGN_KEY=publisher", "HELM_KEYRING="+secret)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	reference := "oci://" + strings.TrimPrefix(server.URL, "http://") + "/charts"
	s := newShell(t)
	s.run("helm", "push", filepath.Join(dir, archive(t)), reference, "--plain-http")
	reference += "/zen-lead"
	assert.Equal(t, s.template(chartDir), s.template(reference, "--plain-http", "--version", chart(t).Version))
	pulled := t.TempDir()
	s.run("helm", "pull", reference, "--plain-http", "--version", chart(t).Version, "--destination", pulled, "--verify", "--keyring", public)
	assert.Equal(t, s.template(chartDir), s.template(filepath.Join(pulled, archive(t))))
	_, err := s.try("helm", "pull", reference, "--plain-http", "--version", "9.9.9", "--destination", pulled)
	require.Error(t, err, "a version that is not there")
}
