package walk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// What a document tells its reader to type is run as it stands, in one shell, but for three
// things: a system of a test is on free ports and runs already, and what goes on until
// Ctrl-C goes on behind what follows.

// block is one block of shell in a document, and what came of it.
type block struct {
	commands string
	output   string
	// statuses are those of all answers that curl got.
	statuses []string
}

// shellBlocks returns the blocks of shell in a document of this repository: all, or those
// below one heading.
func shellBlocks(t *testing.T, path, heading string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	if heading != "" {
		_, below, found := strings.Cut(text, "\n## "+heading+"\n")
		if !found {
			t.Fatalf("%s has no heading %q", path, heading)
		}
		text, _, _ = strings.Cut(below, "\n## ")
	}
	var blocks []block
	for _, found := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{commands: found[1]})
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no commands below %q", path, heading)
	}
	return blocks
}

// runBlocks types blocks into one shell at the root of the repository, with more in its environment. The
// first command that fails ends it.
func runBlocks(t *testing.T, s *stack.Stack, blocks []block, environment ...string) {
	t.Helper()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Unavailable(t, err)
		}
	}
	const mark = "== next block ==\n"
	// A folder for each block has a file for each answer.
	headers := t.TempDir()
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'trap \"\" TERM; kill 0' EXIT\ncurl() { command curl -D \"$(mktemp -p \"$ANSWERS\")\" \"$@\"; }\n")
	addresses := strings.NewReplacer("127.0.0.1:8000", s.Web, "127.0.0.1:8080", s.HTTP, "127.0.0.1:9090", s.GRPC, "127.0.0.1:5556", s.OIDC, "127.0.0.1:8025", s.Inbox)
	for i, b := range blocks {
		commands := addresses.Replace(b.commands)
		if commands == "make run\n" {
			commands = "make -n run >/dev/null\n"
		}
		commands = lasting.ReplaceAllString(commands, "$0 >&2 &\nuntil command curl -so /dev/null http://localhost:$$PORT/; do kill -0 $$!; sleep 0.1; done")
		fmt.Fprintf(&script, "ANSWERS=%s/%d; mkdir \"$ANSWERS\"\n%s\nprintf '%s\\n'\n", headers, i, commands, strings.TrimSpace(mark))
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	shell.Dir = "../.."
	// The shell ends what it has started: all of its process group.
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	shell.Env = append(os.Environ(), environment...)
	var out, faults bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &faults
	if err := shell.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), faults.String())
	}
	outputs := strings.Split(out.String(), mark)
	for i := range blocks {
		blocks[i].output = outputs[i]
		answers, err := filepath.Glob(filepath.Join(headers, strconv.Itoa(i), "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range answers {
			head, err := os.ReadFile(answer)
			if err != nil {
				t.Fatal(err)
			}
			if found := regexp.MustCompile(`^HTTP/\S+ (\d{3})`).FindSubmatch(head); found != nil {
				blocks[i].statuses = append(blocks[i].statuses, string(found[1]))
			}
		}
	}
}

// wantStatuses checks that every call of the blocks was answered with 200, or with the
// status that a comment at its end names.
func wantStatuses(t *testing.T, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		var want []string
		for _, command := range curl.FindAllString(b.commands, -1) {
			status := "200"
			if named := shown.FindStringSubmatch(command); named != nil {
				status = named[1]
			}
			want = append(want, status)
		}
		slices.Sort(want)
		slices.Sort(b.statuses)
		if !slices.Equal(b.statuses, want) {
			t.Errorf("%s\nanswered %v:\n%s", b.commands, b.statuses, b.output)
		}
	}
}

var (
	// curl is one call, with the lines that continue it.
	curl  = regexp.MustCompile(`\bcurl -(?:[^\n]*\\\n)*[^\n]*`)
	shown = regexp.MustCompile(`# (\d{3})$`)
	// lasting is what ends with Ctrl-C alone.
	lasting = regexp.MustCompile(`(?m)^npm .* start$`)
)
