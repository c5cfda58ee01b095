package alerts

import "time"

// condition is a rule's cases: one in which it fires, and those that come near.
type condition struct {
	fires Case
	quiet [][]string
}

// minutes after the first sample; a sample is taken every half minute, so that a
// condition that begins with the fifth holds from the second minute.
func minutes(m float64) time.Duration { return time.Duration(m * float64(time.Minute)) }

var conditions = map[string]condition{
	"OutboxOld": {
		Case{Series: []string{`messagerie_outbox_age_seconds{instance="a"} 0x3 61x20`, `messagerie_outbox_age_seconds{instance="b"} 0x90`}, Fires: minutes(2 + 2)},
		[][]string{{`messagerie_outbox_age_seconds 60x90`}, {`messagerie_outbox_age_seconds 300x3 0x90`}},
	},
	"OutboxGrowing": {
		Case{Series: []string{`messagerie_outbox_events 0+180x100`}, Fires: minutes(0.5 + 15)},
		[][]string{{`messagerie_outbox_events 0+149x100`}, {`messagerie_outbox_events 90000x100`}},
	},
	"OutboxSetAside": {
		Case{Series: []string{`messagerie_outbox_set_aside{instance="a"} 0x3 1x40`, `messagerie_outbox_set_aside{instance="b"} 0x3 1x40`}, Fires: minutes(2 + 5)},
		[][]string{{`messagerie_outbox_set_aside 0x90`}, {`messagerie_outbox_set_aside 7x8 0x90`}},
	},
	"DeliveriesOverdue": {
		Case{
			Series: []string{`messagerie_notifier_overdue_seconds{channel="EMAIL",state="retry"} 0x3 901x40`, `messagerie_notifier_overdue_seconds{channel="SMS",state="retry"} 3x90`},
			Fires:  minutes(2 + 5), Labels: map[string]string{"channel": "EMAIL", "severity": "critical"},
		},
		[][]string{{`messagerie_notifier_overdue_seconds{channel="EMAIL",state="planned"} 900x90`}, {`messagerie_notifier_overdue_seconds{channel="EMAIL",state="sending"} 5000x90`}},
	},
	"DeadLetters": {
		Case{Series: []string{`messagerie_notifier_deadletters 0x3 1x80`}, Fires: minutes(2 + 30)},
		[][]string{{`messagerie_notifier_deadletters 0x200`}, {`messagerie_notifier_deadletters 7x50 0x150`}},
	},
	"DeliveriesInDoubt": {
		Case{
			Series: []string{`messagerie_notifier_waiting{channel="SMS",state="unknown"} 0x3 101x40`, `messagerie_notifier_waiting{channel="EMAIL",state="unknown"} 2x90`},
			Fires:  minutes(2 + 10), Labels: map[string]string{"channel": "SMS"},
		},
		[][]string{
			{`messagerie_notifier_waiting{channel="SMS",state="unknown"} 100x90`, `messagerie_notifier_waiting{channel="EMAIL",state="unknown"} 100x90`},
			{`messagerie_notifier_waiting{channel="SMS",state="planned"} 5000x90`},
		},
	},
	"LateOutcomes": {
		Case{Series: []string{`messagerie_notifier_late_total{channel="SMS",state="accepted"} 0x3 1x60`}, Fires: minutes(2)},
		[][]string{{`messagerie_notifier_late_total{channel="SMS",state="accepted"} 5x200`}},
	},
	"ReconcileLag": {
		Case{Series: []string{`messagerie_notifier_reconcile_lag_seconds{instance="a"} 0x3 181x40`, `messagerie_notifier_reconcile_lag_seconds{instance="b"} 900x90`}, Fires: minutes(2 + 5)},
		[][]string{
			{`messagerie_notifier_reconcile_lag_seconds{instance="a"} 180x90`, `messagerie_notifier_reconcile_lag_seconds{instance="b"} 900x90`},
			{`messagerie_notifier_reconcile_lag_seconds 400x8 0x90`},
		},
	},
	"BrokerLosesEvents": {
		Case{Series: []string{`messagerie_notifier_repaired_total 0x3 1x40`}, Fires: minutes(2)},
		[][]string{{`messagerie_notifier_repaired_total 12x200`}},
	},
	"ForeignEvents": {
		Case{Series: []string{`messagerie_notifier_foreign_total 0x3 1x40`}, Fires: minutes(2), Labels: map[string]string{"severity": "critical"}},
		[][]string{{`messagerie_notifier_foreign_total 1x200`}},
	},
	"ForgedReports": {
		// A rate over ten minutes of four each half minute reaches one each ten
		// seconds when the window is four fifths full.
		Case{
			Series: []string{`messagerie_notifier_reports_total{provider="sendgrid",result="forged"} 0+4x100`, `messagerie_notifier_reports_total{provider="twilio",result="applied"} 0+90x100`},
			Fires:  minutes(8 + 10), Labels: map[string]string{"provider": "sendgrid"},
		},
		[][]string{{`messagerie_notifier_reports_total{provider="sendgrid",result="stale"} 0+2x200`}, {`messagerie_notifier_reports_total{provider="sendgrid",result="applied"} 0+90x200`}},
	},
	"ProviderFailing": {
		Case{
			Series: []string{
				`messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="not_sent"} 0+4x60`, `messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="unknown"} 0+2x60`,
				`messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="accepted"} 0+5x60`, `messagerie_notifier_call_duration_seconds_count{provider="sendgrid",outcome="accepted"} 0+5x60`,
			},
			Fires: minutes(0.5 + 5), Labels: map[string]string{"provider": "twilio"},
		},
		[][]string{
			{`messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="unknown"} 0+5x90`, `messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="accepted"} 0+5x90`},
			{`messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="refused"} 0+5x90`, `messagerie_notifier_call_duration_seconds_count{provider="twilio",outcome="not_sent"} 0+1x90`},
		},
	},
	"ProviderRefusesUs": {
		Case{Series: []string{`messagerie_notifier_call_duration_seconds_count{provider="sendgrid",outcome="config_fault"} 0x3 1x40`}, Fires: minutes(2), Labels: map[string]string{"provider": "sendgrid"}},
		[][]string{
			{`messagerie_notifier_call_duration_seconds_count{provider="sendgrid",outcome="refused"} 0+9x90`},
			{`messagerie_notifier_call_duration_seconds_count{provider="sendgrid",outcome="config_fault"} 3x90`},
		},
	},
	"SubmissionsFailing": {
		Case{Series: []string{`messagerie_submissions_total{outcome="failed"} 0+2x60`, `messagerie_submissions_total{outcome="stored"} 0+100x60`}, Fires: minutes(0.5 + 5)},
		[][]string{
			{`messagerie_submissions_total{outcome="failed"} 0+1x90`, `messagerie_submissions_total{outcome="stored"} 0+100x90`},
			{`messagerie_submissions_total{outcome="refused"} 0+50x90`, `messagerie_submissions_total{outcome="stored"} 0+100x90`},
		},
	},
	"ProcessNotReady": {
		Case{
			Series: []string{`up{job="web",instance="a"} 1x3 0x40`, `up{job="web",instance="b"} 1x90`},
			Fires:  minutes(2 + 3), Labels: map[string]string{"job": "web", "instance": "a"},
		},
		[][]string{{`up{job="messaging",instance="a"} 1x90`}, {`up{job="messaging",instance="a"} 0x5 1x90`}, {`up{job="node",instance="a"} 0x90`}},
	},
	"ProcessRestarting": {
		Case{
			Series: []string{`process_start_time_seconds{job="taxonomy",instance="a"} 100x3 200x3 300x3 400x40`},
			Fires:  minutes(6), Labels: map[string]string{"job": "taxonomy", "instance": "a"},
		},
		[][]string{{`process_start_time_seconds{job="taxonomy",instance="a"} 100x3 200x3 300x90`}, {`process_start_time_seconds{job="node",instance="a"} 0+1x90`}},
	},
	"VersionsMixed": {
		Case{
			Series: []string{`messagerie_build_info{job="web",version="1.1.0"} 1x200`, `messagerie_build_info{job="web",version="1.2.0"} _x3 1x200`, `messagerie_build_info{job="gateway",version="1.2.0"} 1x200`},
			Fires:  minutes(1.5 + 60), Labels: map[string]string{"job": "web"},
		},
		[][]string{
			{`messagerie_build_info{job="web",version="1.1.0",instance="a"} 1x200`, `messagerie_build_info{job="web",version="1.1.0",instance="b"} 1x200`, `messagerie_build_info{job="gateway",version="1.2.0"} 1x200`},
			{`messagerie_build_info{job="web",version="1.1.0"} 1x80 stale`, `messagerie_build_info{job="web",version="1.2.0"} 1x200`},
		},
	},
	"CallsFailing": {
		Case{
			Series: []string{`http_server_request_duration_seconds_count{job="gateway",http_response_status_code="503"} 0+3x60`, `http_server_request_duration_seconds_count{job="gateway",http_response_status_code="200"} 0+100x60`, `http_server_request_duration_seconds_count{job="web",http_response_status_code="200"} 0+100x60`},
			Fires:  minutes(0.5 + 5), Labels: map[string]string{"job": "gateway"},
		},
		[][]string{
			{`http_server_request_duration_seconds_count{job="web",http_response_status_code="500"} 0+2x90`, `http_server_request_duration_seconds_count{job="web",http_response_status_code="200"} 0+98x90`},
			{`http_server_request_duration_seconds_count{job="web",http_response_status_code="404"} 0+50x90`, `http_server_request_duration_seconds_count{job="web",http_response_status_code="200"} 0+50x90`},
		},
	},
	"CallsSlow": {
		Case{Series: slow("/v1/conversations", 98), Fires: minutes(0.5 + 10), Labels: map[string]string{"job": "gateway"}},
		[][]string{slow("/v1/conversations", 100), slow("/v1/conversations:watch", 10), slow("/agent/evenements", 10)},
	},
	"BrokerAway": {
		Case{Series: []string{`messagerie_broker_connected{job="notifier",instance="a"} 1x3 0x40`, `messagerie_broker_connected{job="notifier",instance="b"} 1x90`}, Fires: minutes(2 + 2), Labels: map[string]string{"job": "notifier"}},
		[][]string{{`messagerie_broker_connected{job="notifier"} 1x90`}, {`messagerie_broker_connected{job="notifier"} 0x3 1x90`}},
	},
	"VaultAway": {
		Case{
			Series: []string{`messagerie_vault_reachable{job="messaging",instance="a"} 1x3 0x40`, `messagerie_vault_reachable{job="messaging",instance="b"} 1x90`},
			Fires:  minutes(2 + 2), Labels: map[string]string{"job": "messaging", "instance": "a", "severity": "warning"},
		},
		[][]string{
			{`messagerie_vault_reachable{job="messaging",instance="a"} 1x90`},
			{`messagerie_vault_reachable{job="messaging",instance="a"} 0x3 1x90`, `messagerie_vault_reachable{job="messaging",instance="b"} 1x3 0x3 1x90`},
		},
	},
	"VaultAwayFromAll": {
		Case{
			Series: []string{`messagerie_vault_reachable{job="messaging",instance="a"} 1x3 0x40`, `messagerie_vault_reachable{job="messaging",instance="b"} 0x40`},
			Fires:  minutes(2 + 5), Labels: map[string]string{"severity": "critical"},
		},
		[][]string{
			{`messagerie_vault_reachable{job="messaging",instance="a"} 0x90`, `messagerie_vault_reachable{job="messaging",instance="b"} 1x90`},
			{`messagerie_vault_reachable{job="messaging",instance="a"} 0x9 1x90`},
		},
	},
	"PoolExhausted": {
		Case{
			Series: []string{`pgxpool_acquired_connections{job="messaging",instance="a"} 1x3 4x60`, `pgxpool_max_connections{job="messaging",instance="a"} 4x90`},
			Fires:  minutes(2 + 10), Labels: map[string]string{"job": "messaging", "instance": "a"},
		},
		[][]string{
			{`pgxpool_acquired_connections{job="messaging",instance="a"} 9x90`, `pgxpool_max_connections{job="messaging",instance="a"} 10x90`},
			{
				`pgxpool_acquired_connections{job="messaging",instance="a",db_client_connection_pool_name="db:5432/m reports"} 4x90`,
				`pgxpool_max_connections{job="messaging",instance="a",db_client_connection_pool_name="db:5432/m reports"} 4x90`,
			},
		},
	},
	"QueueOld": {
		Case{Series: []string{`messagerie_queue_age_seconds 0x3 604801x200`}, Fires: minutes(2 + 60)},
		[][]string{{`messagerie_queue_age_seconds 604800x200`}, {`messagerie_queue_age_seconds 700000x100 60x100`}},
	},
	"UnusualReader": {
		Case{Series: []string{`messagerie_unusual_readers 0x3 1x60`}, Fires: minutes(2 + 5)},
		[][]string{{`messagerie_unusual_readers 0x60`}, {`messagerie_unusual_readers 0x3 2x6 0x60`}},
	},
	"ReportsNotTaken": {
		Case{
			Series: []string{`messagerie_gateway_webhooks_total{provider="twilio",outcome="away"} 0+1x60`, `messagerie_gateway_webhooks_total{provider="sendgrid",outcome="taken"} 0+50x60`},
			Fires:  minutes(0.5 + 10), Labels: map[string]string{"provider": "twilio"},
		},
		[][]string{{`messagerie_gateway_webhooks_total{provider="twilio",outcome="refused"} 0+1x200`}, {`messagerie_gateway_webhooks_total{provider="twilio",outcome="failed"} 4x200`}},
	},
}

// slow is a histogram in which of each hundred requests so many take at most two
// seconds and a half, and the others at most five.
func slow(route string, quick int) []string {
	name := `http_server_request_duration_seconds_bucket{job="gateway",http_route="` + route + `",le="`
	step := func(n int) string { return " 0+" + itoa(n) + "x200" }
	return []string{name + `1"}` + step(0), name + `2.5"}` + step(quick), name + `5"}` + step(100), name + `+Inf"}` + step(100)}
}
