package chassis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hangs has the test's program be the process that TestProcessEndsWhateverHangs starts.
var hangs = flag.Bool("hangs", false, "hang instead of testing")

func TestMain(m *testing.M) {
	flag.Parse()
	if !*hangs {
		m.Run()
		return
	}
	_ = runProcess("hangs", slog.LevelInfo, Process{DrainTimeout: 50 * time.Millisecond}, func(ctx context.Context, _ Process) error {
		fmt.Println("running")
		<-ctx.Done()
		select {} // whatever it is that does not come back
	})
}

// A process that was told to end does so, whatever it hangs in, and says that it hung.
func TestProcessEndsWhateverHangs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	process := exec.CommandContext(ctx, os.Args[0], "-hangs")
	var log bytes.Buffer
	process.Stderr = &log
	out, err := process.StdoutPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "running\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := process.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ends with %v, want status 1", err)
	}
	if !strings.Contains(log.String(), "stopping has taken too long") {
		t.Errorf("its log: %s", log.String())
	}
}
