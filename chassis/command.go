package chassis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// version is set when an image is built (-ldflags -X).
var version string

// Version is the version of this program: that of its image, else the commit that it
// was built from, else "dev".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
				return setting.Value[:12]
			}
		}
	}
	return "dev"
}

// Command is something that a service's program does instead of serving, as its
// first argument says.
type Command struct {
	Name, Help string
	// Run gets the other arguments. Its error ends the program with status 1, or 2
	// where it is a [Misuse].
	Run func(ctx context.Context, args []string, out io.Writer) error
}

// Misuse is an error in how a program was called or configured.
type Misuse struct{ Err error }

func (m Misuse) Error() string { return m.Err.Error() }
func (m Misuse) Unwrap() error { return m.Err }

// Misused returns a Misuse.
func Misused(format string, args ...any) Misuse { return Misuse{fmt.Errorf(format, args...)} }

// healthTimeout is below the usual time-out of a container's health check.
const healthTimeout = 3 * time.Second

// commands are those of every service.
func commands(name string) []Command {
	return []Command{
		{"healthcheck", "exit 0 if the process of this configuration is ready, else 1", func(ctx context.Context, _ []string, _ io.Writer) error {
			cfg, err := Load[Process](strings.ToUpper(name)+"_", os.Environ())
			if err != nil {
				return Misuse{Err: err}
			}
			return checkHealth(ctx, cfg.AdminAddr)
		}},
		{"version", "print the version", func(_ context.Context, _ []string, out io.Writer) error {
			fmt.Fprintf(out, "%s %s %s %s/%s\n", name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		}},
	}
}

// dispatch runs the command that args name. It returns false where there is none,
// and the program is to serve.
func dispatch(ctx context.Context, name string, args []string, all []Command, out io.Writer) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	at := slices.IndexFunc(all, func(c Command) bool { return c.Name == args[0] })
	if at >= 0 {
		return true, all[at].Run(ctx, args[1:], out)
	}
	var usage strings.Builder
	fmt.Fprintf(&usage, "usage: %s [command]\nwithout a command: serve, configured by %s_* (docs/operations.md)\n", name, strings.ToUpper(name))
	for _, c := range all {
		fmt.Fprintf(&usage, "  %-16s %s\n", c.Name, c.Help)
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		_, err := io.WriteString(out, usage.String())
		return true, err
	}
	return true, Misused("unknown command %q\n%s", args[0], strings.TrimSpace(usage.String()))
}

// checkHealth asks a process on this machine whether it is ready, for images that
// hold no other program to ask with.
func checkHealth(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return Misused("ADMIN_ADDR %q is not an address that can be asked: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return Misused("ADMIN_ADDR %q is not an address that can be asked: %w", addr, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking whether it is ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		faults, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return errors.New("not ready: " + strings.TrimSpace(string(faults)))
	}
	return nil
}
