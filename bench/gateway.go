package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// submitters are how many submissions are under way at once.
	submitters = 128
	// grpcConns share them, as a few front ends would.
	grpcConns = 4
	// warmUp is before the measured time, submitTime.
	warmUp     = time.Second
	submitTime = 5 * time.Second
)

// question is what everybody submits: 300 characters.
func question() *messagingpb.SubmitMessageRequest {
	return &messagingpb.SubmitMessageRequest{
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent", TaxonomyVersion: 1,
		Text: "Bonjour, je n'ai pas reçu le versement du mois de mars pour mes deux enfants. J'ai vérifié auprès de ma banque, " +
			"qui n'a rien vu passer. Ma situation n'a pas changé depuis l'an dernier, et j'ai répondu à votre courrier du 3. " +
			"Pouvez-vous me dire où en est mon dossier et s'il vous manque une pièce ? Merci.",
	}
}

// measureGateway: whole submissions through the gateway, in real processes.
func measureGateway(ctx context.Context, r *rig) ([]row, error) {
	var overGRPC, overREST, tx sample
	err := r.rounds(ctx,
		side{&tx, func() (float64, error) { return r.pgbench(ctx, perStatement) }},
		side{&overGRPC, func() (float64, error) { return r.submissions(ctx, "grpc", (*system).grpcSubmitter) }},
		side{&overREST, func() (float64, error) { return r.submissions(ctx, "rest", (*system).restSubmitter) }},
	)
	const against = "pgbench, a transaction each"
	return []row{
		{what: "through the gateway, gRPC, 128 at once", unit: "submissions/s", ours: overGRPC, against: against, reference: tx, goal: 1.5},
		{what: "through the gateway, REST, 128 at once", unit: "submissions/s", ours: overREST, against: against, reference: tx, goal: 1},
	}, err
}

// submitter makes one submission for the n-th caller.
type submitter func(ctx context.Context, n int) error

// submissions starts the system, loads it and returns what it stored per second.
func (r *rig) submissions(ctx context.Context, label string, open func(*system) (submitter, func(), error)) (_ float64, err error) {
	s, err := r.startSystem(ctx, label)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	submit, closeAll, err := open(s)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	r.settle(ctx)
	before := r.spent(s)
	rate, all, err := load(ctx, submit)
	if err == nil {
		r.costs(label, before, r.spent(s), all)
	}
	return rate, err
}

// load has all submitters submit until the time is over.
// It returns how many per second, and how many with those of the warm-up.
func load(ctx context.Context, submit submitter) (rate float64, all int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done, total atomic.Int64
	var group sync.WaitGroup
	begin := time.Now().Add(warmUp)
	end := begin.Add(submitTime)
	for n := range submitters {
		group.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
				if err := submit(ctx, n); err != nil {
					cancel(err)
					return
				}
				total.Add(1)
				if now = time.Now(); now.After(begin) && now.Before(end) {
					done.Add(1)
				}
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / submitTime.Seconds(), total.Load(), context.Cause(ctx)
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
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.tokens[n%len(s.tokens)], "idempotency-key", uuid.NewString())
		_, err := clients[n%grpcConns].SubmitMessage(ctx, question())
		return err
	}
	return submit, func() {
		for _, conn := range conns {
			conn.Close()
		}
	}, nil
}

func (s *system) restSubmitter() (submitter, func(), error) {
	body, err := protojson.Marshal(question())
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: submitters}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	submit := func(ctx context.Context, n int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.http+"/v1/conversations", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+s.tokens[n%len(s.tokens)])
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
