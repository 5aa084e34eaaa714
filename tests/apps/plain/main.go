// Command plain is a task without a JVM: it runs, prints, ends as it is told.
// Each flag can also come from the environment: --exit-code as PLAIN_EXIT_CODE.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	f := flag.NewFlagSet("plain", flag.ContinueOnError)
	runFor := f.Duration("run-for", 200*time.Millisecond, "how long to run")
	exitCode := f.Int("exit-code", 0, "exit code at the end")
	failBefore := f.String("fail-before", "", "exit 1 before this time (RFC 3339 or Unix seconds): the first pod of a Job fails, a later one does not")
	message := f.String("termination-message", "", "text for the termination message")
	messageFile := f.String("termination-log", "/dev/termination-log", "file of the termination message")
	termCode := f.Int("term-exit-code", 0, "exit code after SIGTERM")
	ignoreTerm := f.Bool("ignore-term", false, "ignore SIGTERM")
	eatMiB := f.Int("eat-memory", 0, "MiB to allocate and write to after the run")
	push := f.String("push", "", "exposition text to send to $MILLRACE_PUSH_URL after the run")
	pushWithin := f.Duration("push-within", 0, "how long to try again to send it")
	if err := parse(f, os.Args[1:]); err != nil {
		exit(2)
	}

	printSelf()
	wait(*runFor, *termCode, *ignoreTerm)
	if *message != "" {
		check(os.WriteFile(*messageFile, []byte(*message), 0o644))
	}
	if *push != "" {
		check(sendWithin(*pushWithin, os.Getenv("MILLRACE_PUSH_URL"), *push))
	}
	eat(*eatMiB)
	if *failBefore != "" {
		t, err := parseTime(*failBefore)
		check(err)
		if time.Now().Before(t) {
			fmt.Println("failing: it is before", t.UTC().Format(time.RFC3339))
			exit(1)
		}
	}
	exit(*exitCode)
}

// parse reads the environment first, so that arguments win. What a launch may add,
// words and Spring properties (--a.b=c), is allowed anywhere and only printed.
func parse(f *flag.FlagSet, args []string) error {
	var err error
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool {
		name, _, _ := strings.Cut(a, "=")
		return strings.HasPrefix(a, "--") && strings.Contains(name, ".")
	})
	f.VisitAll(func(x *flag.Flag) {
		name := "PLAIN_" + strings.ToUpper(strings.ReplaceAll(x.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && err == nil {
			if err = f.Set(x.Name, v); err != nil {
				fmt.Fprintln(os.Stderr, name+":", err)
			}
		}
	})
	for err == nil && len(args) > 0 {
		if err = f.Parse(args); err == nil && f.NArg() > 0 {
			args = f.Args()[1:]
		} else {
			args = nil
		}
	}
	return err
}

func printSelf() {
	fmt.Println("task started")
	for _, a := range os.Args[1:] {
		fmt.Println("arg", a)
	}
	env := os.Environ()
	slices.Sort(env)
	for _, e := range env {
		if strings.HasPrefix(e, "MILLRACE_") {
			fmt.Println("env", e)
		}
	}
}

func wait(d time.Duration, termCode int, ignoreTerm bool) {
	// Always a handler: without one the kernel ignores SIGTERM for a container's first process.
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	end := time.After(d)
	for {
		select {
		case <-end:
			return
		case <-term:
			if !ignoreTerm {
				fmt.Println("task ends on SIGTERM")
				exit(termCode)
			}
			fmt.Println("task ignores SIGTERM")
		}
	}
}

func eat(mib int) {
	var all [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 { // a page counts when it is written to
			b[i] = 1
		}
		all = append(all, b)
	}
	if mib > 0 {
		fmt.Println("task has eaten", len(all), "MiB")
	}
}

// sendWithin tries again as `curl --retry` does: a door may be closed for a moment.
func sendWithin(d time.Duration, url, body string) error {
	end := time.Now().Add(d)
	for {
		err := send(url, body)
		if err == nil || time.Now().After(end) {
			return err
		}
		fmt.Println("not pushed:", err)
		time.Sleep(500 * time.Millisecond)
	}
}

func send(url, body string) error {
	// "\n" can be given as two characters, as command lines have no line ends.
	text := strings.TrimSuffix(strings.ReplaceAll(body, `\n`, "\n"), "\n") + "\n"
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Post(url, "text/plain; version=0.0.4", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(r.Body, 1000))
	if r.StatusCode >= 500 {
		return fmt.Errorf("%s %s", r.Status, strings.TrimSpace(string(answer)))
	}
	fmt.Println("pushed:", r.Status, strings.TrimSpace(string(answer)))
	return nil
}

func parseTime(s string) (time.Time, error) {
	var seconds float64
	if _, err := fmt.Sscanf(s, "%g", &seconds); err == nil && !strings.Contains(s, "-") {
		return time.UnixMilli(int64(seconds * 1000)), nil
	}
	return time.Parse(time.RFC3339, s)
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		exit(70)
	}
}

func exit(code int) {
	fmt.Println("task ends with exit code", code)
	os.Exit(code)
}
