package cli

import (
	"fmt"
	"slices"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// showKeys is `messagerie keys status`.
type showKeys struct{}

// Run shows which keys wrap members' keys and who has them. It fails if members' keys cannot be
// read everywhere.
func (c *showKeys) Run(s *session) error {
	resp, err := s.messaging.GetKeys(s.ctx, &messagingpb.GetKeysRequest{})
	if err != nil {
		return err
	}
	verdict, text := keysText(resp)
	if s.json {
		err = s.say(resp, "")
	} else {
		err = showWrappers(s, resp, fmt.Sprintf("%s  %s", verdict, text))
	}
	if err == nil && verdict == bad {
		return errBad
	}
	return err
}

func showWrappers(s *session, resp *messagingpb.GetKeysResponse, fit string) error {
	out := s.table("KEY", "PROCESSES", "WRAP BY IT", "MEMBERS' KEYS", "CHECK VALUE")
	for _, key := range resp.GetKeys() {
		check := "-"
		if key.GetCheckValue() {
			check = "yes"
		}
		out.row(key, keyName(key.GetId()), fmt.Sprintf("%d of %d", key.GetProcesses(), resp.GetFit().GetProcesses()), fmt.Sprint(key.GetPrimaryOf()), fmt.Sprint(key.GetMemberKeys()), check)
	}
	if err := out.end(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s\nerasures remembered: %d, not ended: %d; parts of the vault to be written anew: %d\n",
		fit, resp.GetErasures(), resp.GetOpenErasures(), resp.GetPartsToRewrite())
	return err
}

// keyName is a key's number; none of what does not say by which key it is wrapped.
func keyName(id uint32) string {
	if id == 0 {
		return "unknown"
	}
	return fmt.Sprint(id)
}

// keysText is fitText, unless a process lacks a key that wraps members' keys.
func keysText(resp *messagingpb.GetKeysResponse) (verdict, string) {
	verdict, text := fitText(resp.GetFit())
	if verdict != ok {
		return verdict, text
	}
	for _, key := range resp.GetKeys() {
		if all := resp.GetFit().GetProcesses(); key.GetMemberKeys() > 0 && key.GetProcesses() < all {
			return bad, fmt.Sprintf("%d members' keys are wrapped by %s, which %d of %d processes lack", key.GetMemberKeys(), keyName(key.GetId()), all-key.GetProcesses(), all)
		}
	}
	return verdict, text
}

// fitText is how the key sets fit, on one line.
func fitText(fit *messagingpb.KeyFit) (verdict, string) {
	switch {
	case fit == nil:
		return watch, "the vault does not answer"
	case !fit.GetCheckValueOpens():
		return bad, "the key set does not fit the vault"
	case fit.GetProcessesWithoutPrimary() > 0:
		return bad, fmt.Sprintf("%d of %d processes lack a key that wraps", fit.GetProcessesWithoutPrimary(), fit.GetProcesses())
	}
	return ok, fmt.Sprintf("%d wraps; the check value opens; %d processes", fit.GetPrimaryKeyId(), fit.GetProcesses())
}

// rewrapKeys is `messagerie keys rewrap`.
type rewrapKeys struct{}

// Run wraps anew page after page, and says how many.
func (c *rewrapKeys) Run(s *session) error {
	now, err := s.messaging.GetKeys(s.ctx, &messagingpb.GetKeysRequest{})
	if err != nil {
		return err
	}
	if verdict, text := fitText(now.GetFit()); verdict != ok {
		return fmt.Errorf("nothing was wrapped anew: %s", text)
	}
	all := &messagingpb.RewrapKeysResponse{}
	req := &messagingpb.RewrapKeysRequest{}
	for more := true; more; more = req.PageToken != "" {
		resp, err := s.messaging.RewrapKeys(s.ctx, req)
		if err != nil {
			return fmt.Errorf("%w\n%d keys were wrapped anew; call it again for the rest", err, all.GetRewrapped())
		}
		all.Rewrapped += resp.GetRewrapped()
		all.Unopened += resp.GetUnopened()
		req.PageToken = resp.GetNextPageToken()
	}
	if err := s.say(all, "keys wrapped anew: %d\n", all.GetRewrapped()); err != nil {
		return err
	}
	if all.GetUnopened() > 0 {
		return fmt.Errorf("%d keys are wrapped by a key that the key set does not have", all.GetUnopened())
	}
	return nil
}

// reconcileKeys is `messagerie keys reconcile`.
type reconcileKeys struct{}

// namedMost is how many ids of keys are named.
const namedMost = 20

// Run compares page after page. Rows without a key are a failure.
func (c *reconcileKeys) Run(s *session) error {
	all := &messagingpb.ReconcileKeysResponse{}
	req := &messagingpb.ReconcileKeysRequest{}
	for more := true; more; more = req.PageToken != "" {
		resp, err := s.messaging.ReconcileKeys(s.ctx, req)
		if err != nil {
			return err
		}
		all.UnusedKeys += resp.GetUnusedKeys()
		all.UnusedKeyIds = more20(all.GetUnusedKeyIds(), resp.GetUnusedKeyIds())
		all.RowsWithoutKey += resp.GetRowsWithoutKey()
		all.MissingKeyIds = more20(all.GetMissingKeyIds(), resp.GetMissingKeyIds())
		req.PageToken = resp.GetNextPageToken()
	}
	err := s.say(all, "keys without data: %d%s\nrows without their key: %d%s\n",
		all.GetUnusedKeys(), indented(all.GetUnusedKeyIds()), all.GetRowsWithoutKey(), indented(all.GetMissingKeyIds()))
	if err == nil && all.GetRowsWithoutKey() > 0 {
		return errBad
	}
	return err
}

// more20 appends ids that are not there yet, up to twenty.
func more20(list, more []string) []string {
	for _, id := range more {
		if len(list) < namedMost && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

func indented(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return "\n  " + strings.Join(ids, "\n  ")
}
