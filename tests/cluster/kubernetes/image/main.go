// Command image writes a container image without a container engine: an OCI
// layout in one tar file, which `ctr images import`, `kind load image-archive`,
// `minikube image load` and `docker load` read. The same input gives the same
// bytes: every owner and time is 0, entries are sorted, modes are 0755 or 0644.
//
//	image --name localhost/app:1 --out app.tar --entrypoint '["/app"]' \
//	      --user 65532:65532 --env KEY=VALUE --workdir / --arch arm64 \
//	      --add jre:/opt/jre --layer --add app.jar:/app.jar:0444
//
// --add SRC:DEST[:MODE] copies a file, or a directory with all that is in it
// (symbolic links stay links); MODE, in octal, holds for files. --layer puts
// what follows into a new layer: images that share their first layers share the
// space in the node. Parent directories and a /tmp for everybody are made.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// An addition is one --add: what is copied to where.
type addition struct {
	src, dest string
	mode      int64 // of files; 0 keeps what the source has
}

type options struct {
	name, out, user, workdir, arch string
	entrypoint, cmd, env           []string
	layers                         [][]addition
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return write(o)
}

func parse(args []string) (*options, error) {
	o := &options{layers: make([][]addition, 1)}
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.StringVar(&o.name, "name", "", "name and tag, as localhost/app:1")
	f.StringVar(&o.out, "out", "", "the tar file to write")
	f.StringVar(&o.user, "user", "65532:65532", "numeric user and group")
	f.StringVar(&o.workdir, "workdir", "/", "working directory")
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the programs inside")
	f.Func("entrypoint", "program and arguments as a JSON list", list(&o.entrypoint))
	f.Func("cmd", "default arguments as a JSON list", list(&o.cmd))
	f.Func("env", "KEY=VALUE; may be repeated", func(s string) error {
		if !strings.Contains(s, "=") {
			return fmt.Errorf("want KEY=VALUE")
		}
		o.env = append(o.env, s)
		return nil
	})
	f.Func("add", "SRC:DEST[:MODE]; may be repeated", func(s string) error {
		a, err := parseAddition(s)
		last := len(o.layers) - 1
		o.layers[last] = append(o.layers[last], a)
		return err
	})
	f.BoolFunc("layer", "begin a new layer", func(string) error {
		o.layers = append(o.layers, nil)
		return nil
	})
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.name == "" || o.out == "" || len(f.Args()) > 0 {
		return nil, fmt.Errorf("want --name and --out and flags only, have %q", f.Args())
	}
	return o, nil
}

func list(to *[]string) func(string) error {
	return func(s string) error {
		if err := json.Unmarshal([]byte(s), to); err != nil {
			return fmt.Errorf(`want a JSON list of strings such as ["/app"]`)
		}
		return nil
	}
}

func parseAddition(s string) (addition, error) {
	p := strings.Split(s, ":")
	if len(p) < 2 || len(p) > 3 || !strings.HasPrefix(p[1], "/") {
		return addition{}, fmt.Errorf("want SRC:/DEST or SRC:/DEST:MODE")
	}
	a := addition{src: p[0], dest: p[1]}
	if len(p) == 3 {
		mode, err := strconv.ParseInt(p[2], 8, 32)
		if err != nil {
			return a, fmt.Errorf("mode %q is not octal", p[2])
		}
		a.mode = mode
	}
	return a, nil
}
