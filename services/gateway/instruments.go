package gateway

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
)

// instruments count what callers are kept from.
type instruments struct {
	meter            metric.Meter
	refusals, closed metric.Int64Counter
	watched          metric.Registration
}

func newInstruments() (*instruments, error) {
	i := &instruments{meter: otel.Meter("gateway")}
	var err1, err2 error
	i.refusals, err1 = i.meter.Int64Counter("messagerie.gateway.refusals",
		metric.WithDescription("Calls refused because their caller, or all together, had too much, by reason."))
	i.closed, err2 = i.meter.Int64Counter("messagerie.gateway.connections.closed",
		metric.WithDescription("Connections closed because their caller had too many, by port."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	// Prometheus's rate() does not see the event with which a series comes into being.
	for _, reason := range door.Reasons() {
		i.refusals.Add(context.Background(), 0, metric.WithAttributes(attribute.String("reason", reason)))
	}
	for _, port := range []string{"grpc", "http"} {
		i.closed.Add(context.Background(), 0, metric.WithAttributes(attribute.String("port", port)))
	}
	return i, nil
}

func (i *instruments) refuse(ctx context.Context, reason string) {
	i.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", reason)))
}

func (i *instruments) close(port string) {
	i.closed.Add(context.Background(), 1, metric.WithAttributes(attribute.String("port", port)))
}

// watch measures the connections of listeners.
func (i *instruments) watch(ports map[string]*fair.Listener) error {
	open, err := i.meter.Int64ObservableGauge("messagerie.gateway.connections", metric.WithDescription("Connections that are open, by port."))
	if err == nil {
		i.watched, err = i.meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
			for port, lis := range ports {
				observer.ObserveInt64(open, int64(lis.Open()), metric.WithAttributes(attribute.String("port", port)))
			}
			return nil
		}, open)
	}
	if err != nil {
		return fmt.Errorf("making instruments: %w", err)
	}
	return nil
}

func (i *instruments) stop() {
	if i.watched != nil {
		_ = i.watched.Unregister() // never fails
	}
}
