package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

type object = map[string]any

// A blob is content by digest: in memory, or in a file.
type blob struct {
	hex  string
	size int64
	data []byte
	file string
}

func (b blob) path() string { return "blobs/sha256/" + b.hex }

func (b blob) descriptor(mediaType string) object {
	return object{"mediaType": mediaType, "digest": "sha256:" + b.hex, "size": b.size}
}

func jsonBlob(v any) blob {
	data, err := json.Marshal(v) // maps are marshalled with sorted keys
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(data)
	return blob{hex: hex.EncodeToString(sum[:]), size: int64(len(data)), data: data}
}

func write(o *options) error {
	dir, err := os.MkdirTemp(filepath.Dir(o.out), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	layers, err := layerBlobs(dir, o.layers)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "image.tar")
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	if err := writeLayout(f, o, layers); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, o.out) // whole or not at all
}

func layerBlobs(dir string, layers [][]addition) (blobs []blob, err error) {
	for i, additions := range layers {
		f, err := os.CreateTemp(dir, "layer")
		if err != nil {
			return nil, err
		}
		hash := sha256.New()
		if err := writeLayer(io.MultiWriter(f, hash), additions, i == 0); err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, blob{hex: hex.EncodeToString(hash.Sum(nil)), size: info.Size(), file: f.Name()})
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return blobs, nil
}

// writeLayout writes the OCI layout, and Docker's manifest.json over the same
// blobs: older engines read only that.
func writeLayout(w io.Writer, o *options, layers []blob) error {
	var descriptors []object
	var digests, paths []string
	for _, l := range layers {
		descriptors = append(descriptors, l.descriptor(mediaLayer))
		digests = append(digests, "sha256:"+l.hex)
		paths = append(paths, l.path())
	}
	config := jsonBlob(object{
		"architecture": o.arch, "os": "linux",
		"config": object{
			"Entrypoint": o.entrypoint, "Cmd": o.cmd, "User": o.user,
			"Env":        append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, o.env...),
			"WorkingDir": o.workdir,
		},
		"rootfs": object{"type": "layers", "diff_ids": digests},
	})
	manifest := jsonBlob(object{
		"schemaVersion": 2, "mediaType": mediaManifest,
		"config": config.descriptor(mediaConfig), "layers": descriptors,
	})
	entry := manifest.descriptor(mediaManifest)
	entry["annotations"] = object{
		"io.containerd.image.name":          o.name,
		"org.opencontainers.image.ref.name": o.name,
	}
	entry["platform"] = object{"architecture": o.arch, "os": "linux"}
	index := jsonBlob(object{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": []object{entry}})
	docker := jsonBlob([]object{{"Config": config.path(), "RepoTags": []string{o.name}, "Layers": paths}})

	t := tar.NewWriter(w)
	files := map[string]blob{
		"oci-layout": jsonBlob(object{"imageLayoutVersion": "1.0.0"}),
		"index.json": index, "manifest.json": docker,
		config.path(): config, manifest.path(): manifest,
	}
	for _, l := range layers {
		files[l.path()] = l
	}
	return writeFiles(t, files)
}

func writeFiles(t *tar.Writer, files map[string]blob) error {
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := files[name].write(t, name); err != nil {
			return err
		}
	}
	return t.Close()
}

func (b blob) write(t *tar.Writer, name string) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: b.size, Mode: 0o644}); err != nil {
		return err
	}
	if b.file == "" {
		_, err := t.Write(b.data)
		return err
	}
	f, err := os.Open(b.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}
