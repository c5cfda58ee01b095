package attack

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// uncounted are attackers whose bytes never become a request that anybody counts.
var uncounted = []Attack{
	{Name: "options-all", About: "64 connections to the REST port and 64 to the pages with a pipeline of OPTIONS *, as fast as it can", run: together(
		func(a *assault, ctx context.Context) { a.connections(ctx, 64, a.HTTP, a.repeat(optionsForAll)) },
		func(a *assault, ctx context.Context) { a.connections(ctx, 64, a.Web, a.repeat(optionsForAll)) },
	)},
	{Name: "idle-frames", About: "answers to no ping, priorities, windows and frames of unknown kinds, 16 connections of each, as fast as it can", run: together(
		func(a *assault, ctx context.Context) {
			a.junk(ctx, 16, func(f *http2.Framer) error { return f.WritePing(true, [8]byte{}) })
		},
		func(a *assault, ctx context.Context) {
			a.junk(ctx, 16, func(f *http2.Framer) error { return f.WritePriority(1, http2.PriorityParam{StreamDep: 3}) })
		},
		func(a *assault, ctx context.Context) {
			a.junk(ctx, 16, func(f *http2.Framer) error { return f.WriteWindowUpdate(1, 1) })
		},
		func(a *assault, ctx context.Context) {
			a.junk(ctx, 16, func(f *http2.Framer) error { return f.WriteRawFrame(99, 0, 0, nil) })
		},
	)},
	{Name: "empty-data", About: "empty DATA on one open stream of each of 64 connections, as fast as it can", run: func(a *assault, ctx context.Context) {
		a.junk(ctx, 64, func(f *http2.Framer) error { return f.WriteData(1, false, nil) })
	}},
	{Name: "refused-heads", About: "calls of a content type that gRPC refuses by itself, on 16 connections, as fast as it can", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 16, func(ctx context.Context, _ int) { a.refusedHeads(ctx) })
	}},
	{Name: "crumbs", About: "240 requests on 8 connections, each to be 60 000 bytes that come one by one", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 8, func(ctx context.Context, _ int) { a.crumbs(ctx, 30, "", getTaxonomy) })
	}},
	{Name: "crumbs-member", About: "the same of two signed-in members on the same connections", run: func(a *assault, ctx context.Context) {
		crowd(ctx, 8, func(ctx context.Context, _ int) { a.crumbs(ctx, 30, "hoarder jeanne", listConversations) })
	}},
	{Name: "half-heads", About: "2 000 connections to each port with most of a head of 16 KiB", run: together(
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 2000, a.HTTP, a.say("GET /v1/taxonomy HTTP/1.1\r\nHost: gateway\r\nX-Long: "+strings.Repeat("a", 15000)))
		},
		func(a *assault, ctx context.Context) {
			a.connections(ctx, 2000, a.GRPC, func(ctx context.Context, conn net.Conn) error { return a.say(halfHead())(ctx, conn) })
		},
	)},
}

const optionsForAll = "OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n"

// repeat writes a text again and again, and throws away what comes.
func (a *assault) repeat(text string) func(context.Context, net.Conn) error {
	return func(ctx context.Context, conn net.Conn) error {
		go func() { _, _ = io.Copy(io.Discard, conn) }() // until it is closed
		set := strings.Repeat(text, 500)
		for ctx.Err() == nil {
			if _, err := io.WriteString(conn, set); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
}

// junk writes frames on so many connections, each with an open stream of number 1.
func (a *assault) junk(ctx context.Context, n int, frame func(*http2.Framer) error) {
	var set bytes.Buffer
	for framer := http2.NewFramer(&set, nil); set.Len() < 60<<10; {
		if err := frame(framer); err != nil {
			panic(err) // to memory
		}
	}
	crowd(ctx, n, func(ctx context.Context, _ int) {
		f, closed := a.connect(ctx)
		if f == nil {
			return
		}
		defer func() { f.close(); <-closed }()
		_, err := f.begin(a, grpcHeaders(getTaxonomy, ""))
		for err == nil && ctx.Err() == nil {
			f.mu.Lock()
			_, err = f.conn.Write(set.Bytes())
			f.mu.Unlock()
		}
		pause(ctx, reconnectAfter)
	})
}

// refusedHeads begins calls that are refused for their head.
func (a *assault) refusedHeads(ctx context.Context) {
	f, closed := a.connect(ctx)
	if f == nil {
		return
	}
	defer func() { f.close(); <-closed }()
	fields := grpcHeaders(getTaxonomy, "")
	for i := range fields {
		if fields[i].Name == "content-type" {
			fields[i].Value = "text/plain"
		}
	}
	for ctx.Err() == nil {
		id, err := f.begin(a, fields)
		if err == nil {
			err = f.send(id, nil)
		}
		if err != nil {
			pause(ctx, reconnectAfter)
			return
		}
	}
}

// crumbs begins calls, in turn of these people, and writes their requests byte by byte.
func (a *assault) crumbs(ctx context.Context, streams int, people, method string) {
	f, closed := a.connect(ctx)
	if f == nil {
		return
	}
	defer func() { f.close(); <-closed }()
	names := strings.Split(people, " ")
	var ids []uint32
	for i := range streams {
		id, err := f.begin(a, grpcHeaders(method, a.Tokens[names[i%len(names)]]))
		if err != nil {
			return
		}
		ids = append(ids, id)
	}
	rest := append([]byte{0, 0, 0, 0xea, 0x60}, make([]byte, 60_000)...)
	for i := range rest {
		for _, id := range ids {
			f.mu.Lock()
			err := f.framer.WriteData(id, false, rest[i:i+1])
			f.mu.Unlock()
			if err != nil || ctx.Err() != nil {
				pause(ctx, reconnectAfter)
				return
			}
		}
	}
}

// halfHead is what begins a connection of HTTP/2 and a head of 14 KiB that does not end.
var halfHead = sync.OnceValue(func() string {
	var wire, block bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	framer, encoder := http2.NewFramer(&wire, nil), hpack.NewEncoder(&block)
	for _, field := range append(grpcHeaders(getTaxonomy, ""), hpack.HeaderField{Name: "x-long", Value: strings.Repeat("a", 14_000), Sensitive: true}) {
		_ = encoder.WriteField(field) // to memory, as all of these
	}
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes()[:1000]})
	_ = framer.WriteContinuation(1, false, block.Bytes()[1000:])
	return wire.String()
})
