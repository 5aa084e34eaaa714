package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An entry is one file, directory or link of a layer.
type entry struct {
	header tar.Header
	src    string // where a regular file's content is
}

// A layer by path; a later addition to the same path wins.
type layer map[string]entry

// writeLayer writes the additions as an uncompressed tar: containerd reads it
// quickest so, and the digest does not hang on a compressor's version.
func writeLayer(w io.Writer, additions []addition, withTmp bool) error {
	l := layer{}
	if withTmp {
		l["tmp/"] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o1777}}
	}
	for _, a := range additions {
		if err := l.add(a); err != nil {
			return err
		}
	}
	t := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if err := l[name].write(t, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return t.Close()
}

// add follows SRC itself if it is a link (libraries often are), nothing below it.
func (l layer) add(a addition) error {
	src, err := filepath.EvalSymlinks(a.src)
	if err != nil {
		return err
	}
	return filepath.WalkDir(src, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		return l.put(p, strings.TrimPrefix(path.Join(a.dest, rel), "/"), a.mode)
	})
}

func (l layer) put(src, name string, mode int64) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	e := entry{header: tar.Header{Mode: 0o644}, src: src}
	switch {
	case info.IsDir():
		if name != "" {
			l.parents(name + "/x")
		}
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		e.header.Typeflag = tar.TypeSymlink
		if e.header.Linkname, err = os.Readlink(src); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		e.header.Typeflag, e.header.Size = tar.TypeReg, info.Size()
	default:
		return fmt.Errorf("%s is no file, directory or link", src)
	}
	if mode != 0 {
		e.header.Mode = mode
	} else if info.Mode()&0o100 != 0 {
		e.header.Mode = 0o755
	}
	l.parents(name)
	l[name] = e
	return nil
}

// parents makes the directories above a path, unless they are there.
func (l layer) parents(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := l[dir+"/"]; !ok {
			l[dir+"/"] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
}

func (e entry) write(t *tar.Writer, name string) error {
	e.header.Name = name
	if err := t.WriteHeader(&e.header); err != nil || e.header.Typeflag != tar.TypeReg {
		return err
	}
	f, err := os.Open(e.src)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}
