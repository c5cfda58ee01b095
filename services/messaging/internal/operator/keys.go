package operator

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

const (
	// fitTimeout bounds what the status waits for the vault.
	fitTimeout = 2 * time.Second
	// namedMost is how many ids of keys a page of the comparison names.
	namedMost = 20
)

// keyFit is how the key sets fit; none while the vault does not answer.
func (s *Server) keyFit(ctx context.Context) *messagingpb.KeyFit {
	if s.Vault.Reachable(ctx) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fitTimeout)
	defer cancel()
	fit, err := s.Vault.Fit(ctx)
	if err != nil {
		slog.WarnContext(ctx, "the status lacks how the key sets fit", "error", err)
		return nil
	}
	return fitOf(fit)
}

func fitOf(fit vault.Fit) *messagingpb.KeyFit {
	return &messagingpb.KeyFit{
		CheckValueOpens: fit.CheckOpens, PrimaryKeyId: fit.Primary,
		Processes: int32(fit.Processes), ProcessesWithoutPrimary: int32(fit.WithoutPrimary), //nolint:gosec // few
	}
}

// GetKeys implements OperatorService.
func (s *Server) GetKeys(ctx context.Context, _ *messagingpb.GetKeysRequest) (*messagingpb.GetKeysResponse, error) {
	return report.Read(ctx, s.Reports.Figures, reports.Alone(ctx), func(ctx context.Context) (*messagingpb.GetKeysResponse, error) {
		fit, wrappers, err := s.Vault.Wrappers(ctx)
		if err != nil {
			return nil, err
		}
		remembered, err := s.Vault.Remembered(ctx, s.Reports.DB)
		if err != nil {
			return nil, err
		}
		resp := &messagingpb.GetKeysResponse{Fit: fitOf(fit), Erasures: remembered.Erasures, OpenErasures: remembered.Open, PartsToRewrite: int32(remembered.Parts)} //nolint:gosec // at most 32
		for _, one := range wrappers {
			resp.Keys = append(resp.Keys, &messagingpb.WrappingKey{
				Id: one.ID, Processes: int32(one.Processes), PrimaryOf: int32(one.PrimaryOf), MemberKeys: one.Members, CheckValue: one.Check, //nolint:gosec // few
			})
		}
		return resp, nil
	})
}

// RewrapKeys implements OperatorService.
func (s *Server) RewrapKeys(ctx context.Context, req *messagingpb.RewrapKeysRequest) (*messagingpb.RewrapKeysResponse, error) {
	after, err := s.placeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	result, err := s.Vault.Rewrap(ctx, after)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.RewrapKeysResponse{Rewrapped: int32(result.Keys), Unopened: int32(result.Unopened)} //nolint:gosec // of a page
	resp.NextPageToken, err = s.tokenOf(ctx, req, result.Last)
	return resp, err
}

// ReconcileKeys implements OperatorService.
func (s *Server) ReconcileKeys(ctx context.Context, req *messagingpb.ReconcileKeysRequest) (*messagingpb.ReconcileKeysResponse, error) {
	from, err := s.placeOf(ctx, req)
	if err != nil {
		return nil, err
	}
	found, err := report.Read(ctx, s.Reports.Lists, reports.Alone(ctx), func(ctx context.Context) (vault.Differences, error) {
		return s.Vault.Compare(ctx, s.Reports.DB, from, func(ctx context.Context, members []string) ([]string, error) {
			return member.WithoutData(ctx, s.Reports.DB, members)
		})
	})
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.ReconcileKeysResponse{
		UnusedKeys: int32(len(found.Unused)), UnusedKeyIds: firstOf(found.Unused), //nolint:gosec // of a page
		RowsWithoutKey: int32(len(found.Missing)), MissingKeyIds: firstOf(found.Missing), //nolint:gosec // of a page
	}
	resp.NextPageToken, err = s.tokenOf(ctx, req, found.Next)
	return resp, err
}

// placeOf is where a page begins; empty for the first. It may name a member, which an operator
// must not see: the token has it sealed.
func (s *Server) placeOf(ctx context.Context, req rpc.ListRequest) (string, error) {
	sealed, err := rpc.PageKey(ctx, req)
	if err != nil || sealed == nil {
		return "", err
	}
	place, err := s.Vault.OpenPlace(sealed)
	if err != nil {
		return "", rpc.ErrPageToken // sealed by a key that is no more
	}
	return place, nil
}

// tokenOf is the token of the page from a place on; none if there is none.
func (s *Server) tokenOf(ctx context.Context, req rpc.ListRequest, place string) (string, error) {
	if place == "" {
		return "", nil
	}
	sealed, err := s.Vault.SealPlace(place)
	if err != nil {
		return "", err
	}
	return rpc.PageToken(ctx, req, sealed), nil
}

// firstOf are the first ids, each once.
func firstOf(ids []uuid.UUID) (first []string) {
	named := make(map[uuid.UUID]bool)
	for _, id := range ids {
		if !named[id] && len(named) < namedMost {
			named[id], first = true, append(first, id.String())
		}
	}
	return first
}
