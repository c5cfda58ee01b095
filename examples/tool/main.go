// Command tool is a start for who writes one of their own: it signs in as a machine, lists
// what waits for an answer, takes one conversation in charge and answers it.
//
//	tool waiting      what waits, oldest first
//	tool claim ID     take a conversation in charge, and read it
//	tool answer ID    answer it for good, with the text on standard input
//
// Settings are in Config. Everything else it knows of the gateway is in package api, which
// is generated. docs/tools.md is the way through it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is read from the environment.
type Config struct {
	// API is the gateway.
	API string `env:"TOOL_API" envDefault:"http://127.0.0.1:8080"`
	// TokenURL is the token endpoint of the machines' issuer.
	TokenURL string `env:"TOOL_TOKEN_URL" envDefault:"http://127.0.0.1:5556/machines/token"`
	// ClientID and ClientSecret are what the issuer knows this tool by.
	ClientID     string `env:"TOOL_CLIENT_ID,required"`
	ClientSecret string `env:"TOOL_CLIENT_SECRET,required"`
	// Patience bounds the whole command, with what it waits when it is told to slow down.
	Patience time.Duration `env:"TOOL_PATIENCE" envDefault:"1m"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	cfg, err := env.ParseAs[Config]()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	t, err := open(ctx, cfg, out)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "waiting":
		return t.waiting(ctx)
	case len(args) == 2 && args[0] == "claim":
		return t.claim(ctx, args[1])
	case len(args) == 2 && args[0] == "answer":
		text, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		return t.answer(ctx, args[1], string(text))
	}
	return errors.New("usage: tool waiting | tool claim ID | tool answer ID < text")
}
