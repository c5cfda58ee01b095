package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// ParseKey reads the key as SendGrid shows it: DER in base64.
func ParseKey(text string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is not a public key")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("is not an ECDSA key on P-256")
	}
	return key, nil
}

// ReportSendGrid takes one call of SendGrid's event webhook.
func (w *Server) ReportSendGrid(ctx context.Context, req *notifierpb.ReportSendGridRequest) (*notifierpb.ReportSendGridResponse, error) {
	if w.sendGridKey == nil {
		return nil, errNoWebhook
	}
	if !signedBySendGrid(w.sendGridKey, req) {
		w.add(ctx, provider.NameSendGrid, reportForged, 1)
		return nil, errReportForged
	}
	at, err := strconv.ParseInt(req.GetTimestamp(), 10, 64)
	if err != nil {
		return nil, errReportMalformed.Because(err)
	}
	fresh, err := w.ledger.Fresh(ctx, at, w.maxAge)
	if err != nil {
		return nil, ledger.StatusOf(err)
	}
	if !fresh {
		w.add(ctx, provider.NameSendGrid, reportStale, 1)
		return nil, errReportStale
	}
	var events []sendGridEvent
	if err := json.Unmarshal(req.GetBody(), &events); err != nil {
		// Its text would repeat what was in the body.
		return nil, errReportMalformed
	}
	var reports []ledger.Report
	for _, e := range events {
		if r, ok := e.report(); ok {
			reports = append(reports, r)
		}
	}
	w.add(ctx, provider.NameSendGrid, reportIgnored, len(events)-len(reports))
	return &notifierpb.ReportSendGridResponse{}, w.store(ctx, provider.NameSendGrid, reports)
}

// signedBySendGrid checks the signature over the time stamp and the body.
func signedBySendGrid(key *ecdsa.PublicKey, req *notifierpb.ReportSendGridRequest) bool {
	signature, err := base64.StdEncoding.DecodeString(req.GetSignature())
	if err != nil {
		return false
	}
	hash := sha256.New()
	hash.Write([]byte(req.GetTimestamp()))
	hash.Write(req.GetBody())
	return ecdsa.VerifyASN1(key, hash.Sum(nil), signature)
}

// sendGridEvent is one event of the webhook, as far as it is read. The address in
// it is not.
type sendGridEvent struct {
	ID         string `json:"sg_event_id"`
	MessageID  string `json:"sg_message_id"`
	Kind       string `json:"event"`
	DeliveryID string `json:"delivery_id"`
}

// sendGridStates are the events that say something about a delivery. Each of them
// also proves that SendGrid took the mail, even "dropped": it answers 202 first and
// then finds the address on one of its lists.
var sendGridStates = map[string]ledger.State{
	"processed": ledger.Accepted, "deferred": ledger.Accepted, "delivered": ledger.Delivered,
	"bounce": ledger.Bounced, "dropped": ledger.Bounced, "spamreport": ledger.Complained,
}

func (e sendGridEvent) report() (ledger.Report, bool) {
	event, channel, ok := ledger.ParseID(e.DeliveryID)
	reached := sendGridStates[e.Kind]
	if !ok || reached == "" || e.ID == "" || len(e.ID) > 200 || len(e.MessageID) > 200 {
		return ledger.Report{}, false
	}
	r := ledger.Report{Provider: provider.NameSendGrid, ReportID: e.ID, EventID: event, Channel: channel, State: reached, MessageID: e.MessageID}
	if reached == ledger.Bounced || reached == ledger.Complained {
		r.Reason = "SENDGRID_" + strings.ToUpper(e.Kind)
	}
	return r, true
}
