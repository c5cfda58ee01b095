package webhook

import (
	"context"
	"net/url"
	"strconv"

	twilioclient "github.com/twilio/twilio-go/client"

	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// ReportTwilio takes one status callback of Twilio.
func (w *Server) ReportTwilio(ctx context.Context, req *notifierpb.ReportTwilioRequest) (*notifierpb.ReportTwilioResponse, error) {
	if w.twilio.StatusCallback == "" {
		return nil, errNoWebhook
	}
	form, err := url.ParseQuery(string(req.GetBody()))
	if err != nil {
		return nil, errReportMalformed
	}
	values := make(map[string]string, len(form))
	for key := range form {
		values[key] = form.Get(key)
		if len(form[key]) > 1 {
			// Only the first would be signed.
			return nil, errReportMalformed
		}
	}
	validator := twilioclient.NewRequestValidator(w.twilio.AuthToken)
	if !validator.Validate(w.twilio.Callback(req.GetDeliveryId()), values, req.GetSignature()) || values["AccountSid"] != w.twilio.AccountSID {
		w.add(ctx, provider.NameTwilio, reportForged, 1)
		return nil, errReportForged
	}
	r, ok := twilioReport(req.GetDeliveryId(), values)
	if !ok {
		w.add(ctx, provider.NameTwilio, reportIgnored, 1)
		return &notifierpb.ReportTwilioResponse{}, nil
	}
	return &notifierpb.ReportTwilioResponse{}, w.store(ctx, provider.NameTwilio, []ledger.Report{r})
}

// twilioStates are the statuses that say something about a delivery. A failed one
// was taken, and given back.
var twilioStates = map[string]ledger.State{
	"accepted": ledger.Accepted, "queued": ledger.Accepted, "sending": ledger.Accepted, "sent": ledger.Accepted,
	"delivered": ledger.Delivered, "read": ledger.Delivered, "undelivered": ledger.Bounced, "failed": ledger.Bounced,
}

func twilioReport(deliveryID string, values map[string]string) (ledger.Report, bool) {
	event, channel, ok := ledger.ParseID(deliveryID)
	reached := twilioStates[values["MessageStatus"]]
	sid := values["MessageSid"]
	if !ok || reached == "" || sid == "" || len(sid) > 64 {
		return ledger.Report{}, false
	}
	r := ledger.Report{Provider: provider.NameTwilio, ReportID: sid + "." + values["MessageStatus"], EventID: event, Channel: channel, State: reached, MessageID: sid}
	if reached == ledger.Bounced {
		r.Reason = "TWILIO_" + values["MessageStatus"]
		if code, err := strconv.Atoi(values["ErrorCode"]); err == nil {
			r.Reason = "TWILIO_" + strconv.Itoa(code)
		}
	}
	return r, true
}
