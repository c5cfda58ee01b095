package notifier

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis"
	reports "github.com/ma-messagerie/messagerie/chassis/report"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

// GetStatus reports to operators how this service is. See the .proto.
func (s *operatorServer) GetStatus(ctx context.Context, _ *notifierpb.GetStatusRequest) (*notifierpb.GetStatusResponse, error) {
	q := question(ctx, "status")
	q.MaxAge = s.maxAge / 10
	resp, err := reports.Read(ctx, s.asked, q, s.status)
	return resp, ledger.StatusOf(err)
}

func (s *operatorServer) status(ctx context.Context) (*notifierpb.GetStatusResponse, error) {
	resp := &notifierpb.GetStatusResponse{BuildVersion: chassis.Version()}
	list, err := s.apart.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		resp.Waiting = append(resp.Waiting, &notifierpb.WaitingDeliveries{
			Channel: channelOf[w.Channel], State: string(w.State), Deliveries: w.Rows, Overdue: ageOf(&w.Overdue),
		})
	}
	letters, err := s.apart.DeadLetterCount(ctx)
	if err != nil {
		return nil, err
	}
	resp.DeadLetters = int32(min(letters, math.MaxInt32)) //nolint:gosec // bounded
	state, err := s.apart.Status(ctx)
	if err != nil {
		return nil, err
	}
	resp.SchemaVersion, resp.ReconcileLag = state.Schema, ageOf(state.Lag)
	if err := s.providers(ctx, resp); err != nil {
		return nil, err
	}
	resp.BrokerReachable = s.broker.Ready(ctx) == nil
	return resp, nil
}

// providers fills in what became of calls to the providers, and what keeps them
// back.
func (s *operatorServer) providers(ctx context.Context, resp *notifierpb.GetStatusResponse) error {
	var names []string
	for _, l := range s.lanes {
		for _, g := range l.gates {
			names = append(names, g.Provider)
		}
	}
	tried, err := s.apart.Tried(ctx, names)
	if err != nil {
		return err
	}
	resp.ProviderWindow = durationpb.New(time.Hour)
	for _, l := range s.lanes {
		for _, g := range l.gates {
			p := &notifierpb.ProviderStatus{Provider: g.Provider, Channel: channelOf[l.channel], BreakerOpen: g.Opened()}
			if wait := g.Quiet(); wait > 0 {
				p.Quiet = durationpb.New(wait)
			}
			n := tried[g.Provider]
			p.Accepted, p.Refused, p.Failed = n.Accepted, n.Refused, n.Failed
			p.CallsFiveMinutes, p.FailedFiveMinutes, p.ConfigFaultsTenMinutes = n.Calls5, n.Failed5, n.Config10
			p.ReportAge = ageOf(n.Reported)
			resp.Providers = append(resp.Providers, p)
		}
	}
	return nil
}

// ageOf is a number of seconds, if there is one above 0.
func ageOf(seconds *float64) *durationpb.Duration {
	if seconds == nil || *seconds <= 0 {
		return nil
	}
	return durationpb.New(time.Duration(*seconds * float64(time.Second)))
}
