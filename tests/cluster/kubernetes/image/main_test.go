package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	first, second := build(t), build(t)
	if !bytes.Equal(first, second) {
		t.Fatal("two builds of the same files differ")
	}
}

func TestTheImageHoldsWhatWasAdded(t *testing.T) {
	files := untar(t, build(t))
	var manifests []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifests); err != nil {
		t.Fatal(err)
	}
	m := manifests[0]
	if m.RepoTags[0] != "localhost/a:1" || len(m.Layers) != 2 {
		t.Fatalf("manifest %+v", m)
	}
	base, app := untar(t, files[m.Layers[0]]), untar(t, files[m.Layers[1]])
	if string(base["opt/d/one"]) != "1" || string(base["opt/d/link"]) != "-> one" {
		t.Errorf("first layer %q", base)
	}
	if string(app["bin/two"]) != "2" {
		t.Errorf("second layer %q", app)
	}
	if _, ok := base["tmp/"]; !ok {
		t.Error("no /tmp")
	}
}

func TestWhatCannotBeCopiedIsAnError(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.tar")
	if err := run([]string{"--name", "a", "--out", out, "--add", "/no/such:/x"}); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(out); err == nil {
		t.Fatal("a half image was left")
	}
}

func build(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"d/one": "1", "two": "2"} {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o700)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("one", filepath.Join(dir, "d/link"))
	out := filepath.Join(dir, "out.tar")
	if err := run([]string{"--name", "localhost/a:1", "--out", out, "--entrypoint", `["/bin/two"]`,
		"--add", dir + "/d:/opt/d", "--layer", "--add", dir + "/two:/bin/two:0755"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		if h.Linkname != "" {
			content = []byte("-> " + h.Linkname)
		}
		files[h.Name] = content
	}
}
