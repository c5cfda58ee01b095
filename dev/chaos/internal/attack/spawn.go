package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"sync"
)

// Spawn runs an attack as a process of the least priority, and returns with its end
// what it achieved and what processor time it used. program is dev.
func Spawn(ctx context.Context, program, name string, target Target) (report Report, used Spending, err error) {
	told, err := json.Marshal(target)
	if err != nil {
		return report, nil, fmt.Errorf("writing the target: %w", err)
	}
	// nice becomes the program, so that the time is the program's.
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", program, "attack", name) //nolint:gosec // we have built it
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(told), &out, &said
	if err := cmd.Start(); err != nil {
		return report, nil, fmt.Errorf("starting %s: %w", name, err)
	}
	watching, seen := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { used = watchSpending(watching, cmd.Process.Pid) })
	err = cmd.Wait()
	seen()
	watch.Wait()
	if err != nil {
		return report, nil, fmt.Errorf("attacking with %s: %w: %.500s", name, err, said.String())
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, nil, fmt.Errorf("reading the report of %s: %w", name, err)
	}
	return report, append(used, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()), nil
}
