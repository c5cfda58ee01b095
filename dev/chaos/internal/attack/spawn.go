package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

// Spawn runs an attack as a process of the least priority, and returns with its end
// what it achieved and how much processor time it took. program is dev.
func Spawn(ctx context.Context, program, name string, target Target) (report Report, took time.Duration, err error) {
	told, err := json.Marshal(target)
	if err != nil {
		return report, 0, fmt.Errorf("writing the target: %w", err)
	}
	// nice becomes the program, so that the time is the program's.
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", program, "attack", name) //nolint:gosec // we have built it
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(told), &out, &said
	if err := cmd.Run(); err != nil {
		return report, 0, fmt.Errorf("attacking with %s: %w: %.500s", name, err, said.String())
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, 0, fmt.Errorf("reading the report of %s: %w", name, err)
	}
	return report, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
