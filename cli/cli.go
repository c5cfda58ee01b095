// Package cli is the messagerie command. It shows the state of the system, handles dead
// letters, refused events and keys for operators, lists a conversation's notifications for
// agents, shows supervisors the audit, and checks the file of a taxonomy for its editors. It talks
// to the gateway alone, with the caller's own token, and enforces no rules of its own: what is
// allowed, and which values are valid, is for the services to say. A file is checked without any
// of them, by the taxonomy's own code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// commands is the command line.
type commands struct {
	connection

	JSON bool `name:"json" help:"Write one JSON object per line."`

	Status showStatus `cmd:"" help:"The whole system's health at a glance (role operator). Exit status 1 when something is BAD."`

	Deadletter struct {
		List   listLetters   `cmd:"" help:"List dead letters, newest first."`
		Replay replayLetters `cmd:"" help:"Retry dead letters. What a provider has accepted is never sent again."`
		Drop   dropLetter    `cmd:"" help:"Take a dead letter off the list for good."`
	} `cmd:"" help:"Notifications that reached nobody, and events that could not be read (role operator)."`
	Outbox struct {
		List    listRefused    `cmd:"" help:"List the events that the broker refuses, oldest first."`
		Requeue requeueRefused `cmd:"" help:"Retry them at once. Once the cause is gone they are retried anyway, within minutes."`
		Drop    dropRefused    `cmd:"" help:"Give up publishing an event. The event log keeps it."`
	} `cmd:"" help:"Events that the broker refuses while it takes others (role operator)."`
	Keys struct {
		Status    showKeys      `cmd:"" help:"Show which keys wrap members' keys, and which process has which. Exit status 1 when something is BAD."`
		Rotate    rotateKeys    `cmd:"" help:"Take the next step of a rotation in a key set's file: add a key, or have the newest one wrap, or remove those before."`
		Rewrap    rewrapKeys    `cmd:"" help:"Wrap anew what another key than the primary one wraps."`
		Reconcile reconcileKeys `cmd:"" help:"Compare the vault with what is stored: keys without data, data without keys. It changes nothing."`
	} `cmd:"" help:"The keys that wrap members' keys in the vault (role operator)."`
	Taxonomy struct {
		Lint lintTaxonomy `cmd:"" help:"Check a taxonomy file as the service does at start: every fault with its line, column, code and a hint. Needs no connection. Exit status 1 with faults."`
	} `cmd:"" help:"The file of themes, topics, reasons and services (no role)."`
	Audit    showAudit `cmd:"" help:"Show who of your fund read, looked for or did what, the last first, and who reads much more than usual (role supervisor)."`
	Delivery struct {
		List listDeliveries `cmd:"" help:"List the notifications about a conversation, oldest first."`
	} `cmd:"" help:"What became of notifications (role agent)."`
}

// errUsage marks a command line that makes no sense.
var errUsage = errors.New("usage")

// Main runs a command line and returns the exit status: 0, 1 when it failed, 2
// when it could not be understood.
func Main(args []string, out, errs io.Writer) (exit int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, out, errs)
}

func run(ctx context.Context, args []string, out, errs io.Writer) (exit int) {
	var line commands
	ended := false
	parser, err := kong.New(&line,
		kong.Name("messagerie"),
		kong.Description("Ma messagerie, for operators, agents and supervisors. Talks to the gateway over gRPC, with your token."),
		kong.Writers(out, errs),
		kong.Exit(func(status int) { ended, exit = true, status }),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(errs, "messagerie:", err)
		return exitFailed
	}
	command, err := parser.Parse(args)
	if ended { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(errs, "messagerie: %v (messagerie --help)\n", err)
		return exitUsage
	}
	s := &session{ctx: ctx, out: out, in: os.Stdin, json: line.JSON}
	if _, alone := command.Selected().Target.Addr().Interface().(offline); !alone {
		err = line.open(s)
	}
	if err == nil {
		defer s.close()
		err = command.Run(s)
	}
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintf(errs, "messagerie: %s (messagerie %s --help)\n", strings.TrimPrefix(err.Error(), errUsage.Error()+": "), command.Command())
		return exitUsage
	case errors.Is(err, errBad): // the table has shown it
		return exitFailed
	case err != nil:
		fmt.Fprintln(errs, "messagerie:", explain(err))
		return exitFailed
	}
	return 0
}

// explain returns a refusal on one line: the fields at fault, of which the message of the
// refusal repeats the first, or its message, with the stable reason of each.
func explain(err error) string {
	var refusal interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &refusal) {
		return err.Error()
	}
	st := refusal.GRPCStatus()
	text, after := st.Message(), ""
	var faults []string
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			text += " (" + d.GetReason() + ")"
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				faults = append(faults, fmt.Sprintf("%s: %s (%s)", v.GetField(), v.GetDescription(), v.GetReason()))
			}
		case *errdetails.RetryInfo:
			after = "; try again in " + d.GetRetryDelay().AsDuration().Round(time.Second).String()
		}
	}
	if len(faults) > 0 {
		text = strings.Join(faults, "; ")
	}
	return text + after
}
