package visit

import (
	"context"
	"net/http"

	"github.com/ma-messagerie/messagerie/web/internal/hint"
)

// Stream writes hints as they come. When it ends, the browser reconnects: the gateway ends a
// stream after ten minutes, or when it drains.
func (v *Visit) Stream(open func(context.Context) (next func() (hint.Hint, error), err error)) error {
	ctx, begun, end, err := v.Bounds.Stream(v.Ctx, v.R)
	if err != nil {
		v.W.Header().Set("Retry-After", "30")
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // the script tries again
	}
	defer end()
	next, err := open(ctx)
	if err != nil {
		return err
	}
	// The first hint comes at once, and shows that the watch has begun.
	first, err := next()
	if err != nil {
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // the script tries again
	}
	begun()
	hint.Write(v.W, v.R, v.Ending, first, next)
	return nil
}
