package attack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// frames is a connection of HTTP/2 that is written frame by frame, as no library
// would. It acknowledges what the server sets and asks, and ignores its limits.
type frames struct {
	conn    net.Conn
	framer  *http2.Framer
	mu      sync.Mutex // held by whoever writes
	block   bytes.Buffer
	encoder *hpack.Encoder
	next    uint32
	// alive are streams that neither side has ended.
	alive atomic.Int64
	held  map[uint32]func()
}

// frameBytes is the longest frame that every server takes.
const frameBytes = 16 << 10

// connect opens a connection and reads it until it is cut, which closes closed. Where
// there is none it returns nil, after a pause.
func (a *assault) connect(ctx context.Context) (f *frames, closed chan struct{}) {
	f, err := a.frames(ctx)
	if err != nil {
		pause(ctx, reconnectAfter)
		return nil, nil
	}
	closed = make(chan struct{})
	go func() {
		defer close(closed)
		if err := f.read(a); err != nil && ctx.Err() == nil {
			a.answered(outcome(err))
		}
	}()
	return f, closed
}

// frames opens a connection to the gRPC port.
func (a *assault) frames(ctx context.Context, settings ...http2.Setting) (*frames, error) {
	conn, err := a.dial(ctx, a.GRPC)
	if err != nil {
		return nil, err
	}
	return speakHTTP2(conn, settings...)
}

func speakHTTP2(conn net.Conn, settings ...http2.Setting) (*frames, error) {
	f := &frames{conn: conn, framer: http2.NewFramer(conn, conn), next: 1, held: make(map[uint32]func())}
	f.encoder = hpack.NewEncoder(&f.block)
	f.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		conn.Close()
		return nil, fmt.Errorf("saying hello: %w", err)
	}
	if err := f.framer.WriteSettings(settings...); err != nil {
		conn.Close()
		return nil, fmt.Errorf("saying hello: %w", err)
	}
	return f, nil
}

// grpcHeaders begin a call of gRPC.
func grpcHeaders(method, token string) []hpack.HeaderField {
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: method},
		{Name: ":authority", Value: "gateway"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
	}
	if token != "" {
		fields = append(fields, hpack.HeaderField{Name: "authorization", Value: "Bearer " + token})
	}
	return fields
}

// grpcMessage is a request of gRPC.
func grpcMessage(m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err) // a message of ours
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...) //nolint:gosec // small
}

var askTaxonomy = grpcMessage(&taxonomypb.GetTaxonomyRequest{Audience: taxonomypb.Audience_PARTICULIER})

// begin opens a stream with these headers, and leaves it open for its body.
func (f *frames) begin(a *assault, fields []hpack.HeaderField) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block.Reset()
	for _, field := range fields {
		if err := f.encoder.WriteField(field); err != nil {
			return 0, err
		}
	}
	id, rest := f.next, f.block.Bytes()
	f.next += 2
	first := rest[:min(len(rest), frameBytes)]
	rest = rest[len(first):]
	a.calls.Add(1)
	err := f.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(rest) == 0})
	for len(rest) > 0 && err == nil {
		part := rest[:min(len(rest), frameBytes)]
		rest = rest[len(part):]
		err = f.framer.WriteContinuation(id, len(rest) == 0, part)
	}
	if err == nil {
		f.alive.Add(1)
		f.held[id] = a.hold()
	}
	return id, err
}

// send writes a body and ends it.
func (f *frames) send(id uint32, body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.framer.WriteData(id, true, body)
}

// reset gives a stream up.
func (f *frames) reset(id uint32) error {
	f.ended(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.framer.WriteRSTStream(id, http2.ErrCodeCancel)
}

func (f *frames) ended(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if release := f.held[id]; release != nil {
		release()
		delete(f.held, id)
		f.alive.Add(-1)
	}
}

// read takes what comes until the connection ends, and counts it.
func (f *frames) read(a *assault) error {
	defer f.close()
	for {
		frame, err := f.framer.ReadFrame()
		var broken http2.StreamError
		if errors.As(err, &broken) {
			continue
		}
		if err != nil {
			return err
		}
		f.take(a, frame)
	}
}

func (f *frames) take(a *assault, frame http2.Frame) {
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			f.mu.Lock()
			defer f.mu.Unlock()
			_ = f.framer.WriteSettingsAck() // the reader sees that it is broken
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			f.mu.Lock()
			defer f.mu.Unlock()
			_ = f.framer.WritePing(true, frame.Data) // as above
		}
	case *http2.MetaHeadersFrame:
		if frame.StreamEnded() {
			for _, field := range frame.Fields {
				if field.Name == "grpc-status" {
					a.answered("grpc " + field.Value)
				}
			}
			f.ended(frame.StreamID)
		}
	case *http2.RSTStreamFrame:
		a.answered("reset " + frame.ErrCode.String())
		f.ended(frame.StreamID)
	case *http2.GoAwayFrame:
		a.answered("goaway " + frame.ErrCode.String())
	}
}

// close ends the connection and with it all streams.
func (f *frames) close() {
	f.conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, release := range f.held {
		release()
		delete(f.held, id)
	}
}

// streams keeps so many streams open on each of so many connections. open begins one;
// what the server ends is begun again.
func (a *assault) streams(ctx context.Context, connections, streams int, open func(*frames) error, settings ...http2.Setting) {
	crowd(ctx, connections, func(ctx context.Context, _ int) {
		f, err := a.frames(ctx, settings...)
		if err != nil {
			pause(ctx, reconnectAfter)
			return
		}
		defer f.close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := f.read(a); err != nil && ctx.Err() == nil {
				a.answered(outcome(err))
			}
		}()
		defer func() { f.close(); <-ended }()
		for ctx.Err() == nil {
			for missing := int64(streams) - f.alive.Load(); missing > 0; missing-- {
				if err := open(f); err != nil {
					pause(ctx, reconnectAfter)
					return
				}
			}
			select {
			case <-ended:
				pause(ctx, reconnectAfter)
				return
			case <-ctx.Done():
				return
			default:
				pause(ctx, reconnectAfter)
			}
		}
	})
}
