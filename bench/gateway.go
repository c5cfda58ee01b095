package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// submitters are how many submissions are under way at once.
	submitters = 128
	// grpcConns share them, as a few front ends would.
	grpcConns = 4
	// callPatience bounds one of them.
	callPatience = 30 * time.Second
)

// question is what everybody submits: 300 characters.
func (s *system) question() *messagingpb.SubmitMessageRequest {
	return &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent", TaxonomyVersion: s.version,
		Text: "Bonjour, je n'ai pas reçu le versement du mois de mars pour mes deux enfants. J'ai vérifié auprès de ma banque, " +
			"qui n'a rien vu passer. Ma situation n'a pas changé depuis l'an dernier, et j'ai répondu à votre courrier du 3. " +
			"Pouvez-vous me dire où en est mon dossier et s'il vous manque une pièce ? Merci.",
	}
}

// measureGateway: whole submissions through the gateway, in real processes.
func measureGateway(ctx context.Context, r *rig) ([]row, error) {
	tx := r.pgbench(ctx, "pgbench, a transaction each", perStatement)
	over := func(label string, open func(*system) (submitter, func(), error)) []*side {
		return r.sides(func(p *build.Version) (measurement, error) { return r.submissions(ctx, p, label, open) })
	}
	overGRPC, overREST := over("grpc", (*system).grpcSubmitter), over("rest", (*system).restSubmitter)
	err := r.rounds(ctx, tx, overGRPC, overREST)
	return slices.Concat(
		withOlder(overGRPC, []row{{what: "through the gateway, gRPC, 128 at once", figure: submissions, reference: tx[0], goal: 1.5}}),
		withOlder(overREST, []row{{what: "through the gateway, REST, 128 at once", figure: submissions, reference: tx[0], goal: 1}}),
	), err
}

// submitter makes one submission for the n-th caller.
type submitter func(ctx context.Context, n int) error

// submissions starts the system, loads it and measures what it stores per second.
func (r *rig) submissions(ctx context.Context, p *build.Version, label string, open func(*system) (submitter, func(), error)) (m measurement, err error) {
	s, err := r.startSystem(ctx, p, label)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.stop(ctx)) }()
	submit, closeAll, err := open(s)
	if err != nil {
		return m, err
	}
	defer closeAll()
	if err := s.awaitAnswer(ctx, submit); err != nil {
		return m, err
	}
	// Sessions, connections and caches are warm before anything counts.
	if _, _, err := load(ctx, submit, r.size.warmUp); err != nil {
		return m, err
	}
	r.settle(ctx)
	var rate float64
	var all int
	spent, err := s.meters(r).Around(func() error {
		var err error
		rate, all, err = load(ctx, submit, r.size.submit)
		return err
	})
	return measurement{map[string]float64{submissions: rate}, spent.Each(all)}, err
}

// load has all submitters submit for so long. It returns how many submissions were
// answered in that time, per second, and how many in all: those that are under way
// at the end are waited for.
func load(ctx context.Context, submit submitter, length time.Duration) (rate float64, all int, err error) {
	end := time.Now().Add(length)
	ctx, stop := context.WithDeadline(ctx, end.Add(callPatience))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	var inTime, total atomic.Int64
	for n := range submitters {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := submit(ctx, n); err != nil {
					return err
				}
				total.Add(1)
				if time.Now().Before(end) {
					inTime.Add(1)
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return float64(inTime.Load()) / length.Seconds(), int(total.Load()), err
}

func (s *system) grpcSubmitter() (submitter, func(), error) {
	clients := make([]messagingpb.MessagingServiceClient, grpcConns)
	conns := make([]*grpc.ClientConn, grpcConns)
	for i := range conns {
		conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, nil, err
		}
		conns[i], clients[i] = conn, messagingpb.NewMessagingServiceClient(conn)
	}
	submit := func(ctx context.Context, n int) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.people.token(), "idempotency-key", uuid.NewString())
		_, err := clients[n%grpcConns].SubmitMessage(ctx, s.question())
		return err
	}
	return submit, func() {
		for _, conn := range conns {
			conn.Close()
		}
	}, nil
}

func (s *system) restSubmitter() (submitter, func(), error) {
	body, err := protojson.Marshal(s.question())
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: submitters}
	client := &http.Client{Transport: transport, Timeout: callPatience}
	submit := func(ctx context.Context, n int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.http+"/v1/conversations", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+s.people.token())
		req.Header.Set("Idempotency-Key", uuid.NewString())
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %s", resp.Status, answer)
		}
		return err
	}
	return submit, transport.CloseIdleConnections, nil
}
