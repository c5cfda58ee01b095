package ledger

// Reasons that the ledger itself gives.
const (
	reasonLapsed  = "LEASE_LAPSED"     // the sender died or was cut off
	reasonUnknown = "OUTCOME_UNKNOWN"  // expired, and may have been sent
	reasonLate    = "NOT_SENT_IN_TIME" // expired, and was not sent
)

// Reasons that a sender gives, as the timeline and the dead letters have them.
const (
	ReasonNoEmail               = "NO_EMAIL"
	ReasonEmailInvalid          = "EMAIL_INVALID"
	ReasonNoPhone               = "NO_PHONE"
	ReasonPhoneInvalid          = "PHONE_INVALID"
	ReasonNotWanted             = "NOT_WANTED"           // the member does not want this SMS
	ReasonConversationUnknown   = "CONVERSATION_UNKNOWN" // messaging does not know it (any more)
	ReasonRenderFailed          = "RENDER_FAILED"
	ReasonQuietHours            = "QUIET_HOURS"
	ReasonRecipientsUnavailable = "RECIPIENTS_UNAVAILABLE"
	ReasonStopping              = "STOPPING"
	ReasonLeaseShort            = "LEASE_SHORT" // too little of the lease was left to send
)
