package fleet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a DNS server for the replicas of a service, as a headless service of
// Kubernetes is: one name, an address for each replica, one port for all.
type names struct {
	conn    net.PacketConn
	records map[string][]netip.Addr
}

func newNames(ctx context.Context, records map[string][]netip.Addr) (*names, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the name server: %w", err)
	}
	n := &names{conn, records}
	go n.run()
	return n, nil
}

// target is how gRPC finds a name here.
func (n *names) target(name, port string) string {
	return fmt.Sprintf("dns://%s/%s.test:%s", n.conn.LocalAddr(), name, port)
}

func (n *names) run() {
	packet := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		if answer, err := n.answer(packet[:size]); err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}

// answer gives the addresses for a question of type A, and nothing for others.
func (n *names) answer(query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	header.Response, header.Authoritative, header.RecursionAvailable = true, true, true
	name, _, _ := strings.Cut(question.Name.String(), ".")
	addrs := n.records[name]
	if addrs == nil || !strings.HasSuffix(question.Name.String(), ".test.") {
		header.RCode = dnsmessage.RCodeNameError
	}
	builder := dnsmessage.NewBuilder(nil, header)
	if err := builder.StartQuestions(); err != nil {
		return nil, err
	}
	if err := builder.Question(question); err != nil {
		return nil, err
	}
	if err := builder.StartAnswers(); err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if question.Type != dnsmessage.TypeA {
			break
		}
		resource := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1}
		if err := builder.AResource(resource, dnsmessage.AResource{A: addr.As4()}); err != nil {
			return nil, err
		}
	}
	return builder.Finish()
}
