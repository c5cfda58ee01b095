package fleet

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ResetPeak has the kernel forget how much memory the process had in RAM at most.
func (p *Process) ResetPeak() error {
	// 5 resets the high water mark (proc_pid_clear_refs(5)).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0); err != nil {
		return fmt.Errorf("resetting the peak of %s: %w", p.Name, err)
	}
	return nil
}

// Peak is how many bytes the process has had in RAM at most since ResetPeak.
func (p *Process) Peak() (int64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of %s: %w", p.Name, err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kib, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not tell the peak of %s", p.Name)
}
