package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/journey"
)

// child is the launcher in a process of its own, as `make run` starts it.
type child struct {
	cmd    *exec.Cmd
	places journey.Places
	done   chan error
}

// ports finds addresses that are free, below those that the kernel gives to whoever
// connects somewhere: the system is started on them again and again, and meanwhile
// nobody may get one by chance.
func ports(t *testing.T, n int) []string {
	t.Helper()
	const first, last = 10_000, 32_000
	var addrs []string
	for len(addrs) < n {
		lis, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.N(last-first)))
		if err != nil {
			continue // taken
		}
		defer lis.Close()
		addrs = append(addrs, lis.Addr().String())
	}
	return addrs
}

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "dev")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/ma-messagerie/messagerie/dev").CombinedOutput()
	if err != nil {
		t.Fatalf("building the launcher: %v\n%s", err, out)
	}
	return binary
}

func launch(t *testing.T, binary, dir string, addrs []string) *child {
	t.Helper()
	c := &child{
		cmd:    exec.Command(binary, "run"),
		places: journey.Places{Gateway: "http://" + addrs[0], OIDC: "http://" + addrs[2], Inbox: "http://" + addrs[3]},
		done:   make(chan error, 1),
	}
	c.cmd.Env = append(os.Environ(), "DEV_STATE_DIR="+dir, "DEV_HTTP_ADDR="+addrs[0], "DEV_GRPC_ADDR="+addrs[1],
		"DEV_OIDC_ADDR="+addrs[2], "DEV_INBOX_ADDR="+addrs[3], "DEV_NATS_ADDR="+addrs[4])
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	running := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "is running") {
				running <- true
			}
		}
		close(running)
		c.done <- c.cmd.Wait()
	}()
	select {
	case ok := <-running:
		if !ok {
			t.Fatal("the launcher has ended while starting")
		}
	case <-time.After(90 * time.Second):
		t.Fatal("the launcher does not start")
	}
	return c
}

func (c *child) token(t *testing.T, persona string) string {
	t.Helper()
	answer := do(t, journey.Client{Base: c.places.OIDC}, http.MethodGet, "/dev/token?as="+persona, nil)
	return strings.TrimSpace(string(answer.Body))
}

// sent counts the mails and SMS about a reference.
func (c *child) sent(t *testing.T, reference string) (mails, texts int) {
	t.Helper()
	var list struct{ Messages []journey.Mail }
	answer := do(t, journey.Client{Base: c.places.Inbox}, http.MethodGet, "/api/messages", nil)
	if err := json.Unmarshal(answer.Body, &list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Messages {
		if strings.Contains(m.Subject+m.Text, reference) {
			if m.Channel == "SMS" {
				texts++
			} else {
				mails++
			}
		}
	}
	return mails, texts
}

// The whole system is killed, the database and the broker with it, at another
// moment each time after a submission was answered with success: during the
// relay, the ingest, the calls to the providers. After the next start the mail
// and the SMS have left, once each.
func TestKillNine(t *testing.T) {
	t.Parallel()
	binary, dir, addrs := build(t), stateDir(t), ports(t, 5)
	delays := []time.Duration{0, 2 * time.Millisecond, 5 * time.Millisecond, 8 * time.Millisecond, 12 * time.Millisecond, 20 * time.Millisecond}
	if testing.Short() {
		delays = delays[:2]
	}
	var references []string
	for _, delay := range delays {
		c := launch(t, binary, dir, addrs)
		member := journey.Client{Base: c.places.Gateway, Token: c.token(t, "jeanne")}
		answer := do(t, member, http.MethodPost, "/v1/conversations", submission("Bonjour, une question avant la coupure."), "Idempotency-Key", uuid.NewString())
		references = append(references, read[recap](t, answer).Conversation.Reference)
		<-time.After(delay) // not a wait for something: the moment is the point
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-c.done
	}
	c := launch(t, binary, dir, addrs)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for _, reference := range references {
		for {
			mails, texts := c.sent(t, reference)
			if mails > 1 || texts > 1 {
				t.Fatalf("%s: %d mails and %d SMS", reference, mails, texts)
			}
			if mails == 1 && texts == 1 {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s: %d mails and %d SMS", reference, mails, texts)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	leftOvers(t, dir)
}

// leftOvers fails for each process that still works for a stack in this folder.
func leftOvers(t *testing.T, dir string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		if command, err := os.ReadFile(path); err == nil && strings.Contains(string(command), dir) {
			t.Errorf("left running: %s %q", path, command)
		}
	}
}
