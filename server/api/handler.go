package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"shoal/server/channel"
)

// Config is fixed for the life of the handler.
type Config struct {
	Key          string // required unless Insecure
	Insecure     bool   // no authentication; for development
	BodyBytesMax int64  // of one request; 0 = 4 MiB
	Transport    bool   // errors are HTTP statuses for every caller
	// Count is told of every call that was let in: its method and the code of its
	// error, 0 for none. Any goroutine; may be nil.
	Count func(method string, code uint32)
	// Rejected is told of every call without a valid key. May be nil.
	Rejected func()
}

const bodyBytesDefault = 4 << 20

// method decodes its parameters and calls the service.
type method func(ctx context.Context, s Service, params []byte) (any, *channel.Error)

// Handler serves the API. Its paths are relative to where it is mounted (see
// http.StripPrefix): /<method>, and the older empty path with {"method","params"}
// in the body.
type Handler struct {
	cfg     Config
	service Service
	log     *slog.Logger
	key     keyCheck
	methods map[string]method
}

// New returns the handler. It fails when there is neither a key nor Insecure.
func New(cfg Config, s Service, log *slog.Logger) (*Handler, error) {
	if cfg.Key == "" && !cfg.Insecure {
		return nil, errors.New("http_api.key is empty, so nobody could use the API: set http_api.key, or http_api.insecure for development")
	}
	if cfg.BodyBytesMax == 0 {
		cfg.BodyBytesMax = bodyBytesDefault
	}
	if cfg.Count == nil {
		cfg.Count = func(string, uint32) {}
	}
	if cfg.Rejected == nil {
		cfg.Rejected = func() {}
	}
	return &Handler{cfg: cfg, service: s, log: log, key: newKeyCheck(cfg.Key), methods: map[string]method{
		"publish":    publish,
		"broadcast":  broadcast,
		"channels":   channels,
		"info":       info,
		"disconnect": disconnect,
	}}, nil
}

// ServeHTTP answers one call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "the API takes POST requests only", http.StatusMethodNotAllowed)
		return
	}
	if !h.cfg.Insecure && !h.key.authorized(r) {
		h.cfg.Rejected()
		http.Error(w, "wrong or missing API key: send it as X-API-Key", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.BodyBytesMax))
	if err != nil {
		status, text := http.StatusBadRequest, "the request body could not be read"
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status, text = http.StatusRequestEntityTooLarge, fmt.Sprintf("the request body is larger than %d bytes: send fewer or smaller publications", tooLarge.Limit)
		}
		http.Error(w, text, status)
		return
	}
	h.call(w, r, body)
}

func (h *Handler) call(w http.ResponseWriter, r *http.Request, body []byte) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		var legacy struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(body, &legacy); err != nil {
			h.answer(w, r, nil, badRequest("the body is not {\"method\":…,\"params\":…}: %v", err))
			return
		}
		name, body = legacy.Method, legacy.Params
	}
	m, ok := h.methods[name]
	if !ok {
		http.Error(w, "no such API method; there are publish, broadcast, channels, info and disconnect", http.StatusNotFound)
		return
	}
	result, e := m(r.Context(), h.service, body)
	h.count(name, e)
	h.answer(w, r, result, e)
}

func (h *Handler) count(name string, e *channel.Error) {
	if e == nil {
		h.cfg.Count(name, 0)
	} else {
		h.cfg.Count(name, e.Code)
	}
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, result any, e *channel.Error) {
	status := http.StatusOK
	if e != nil && (h.cfg.Transport || r.Header.Get("X-Centrifugo-Error-Mode") == "transport") {
		status = transportStatus(e)
	}
	out, err := json.Marshal(envelope(result, e))
	if err != nil {
		h.log.Error("API answer could not be encoded", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(out); err != nil {
		h.log.Debug("API answer could not be sent", "path", r.URL.Path, "error", err)
	}
}

type reply struct {
	Error  *apiError `json:"error,omitempty"`
	Result any       `json:"result,omitempty"`
}

type apiError struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

func envelope(result any, e *channel.Error) reply {
	if e != nil {
		return reply{Error: &apiError{Code: e.Code, Message: e.Message}}
	}
	return reply{Result: result}
}

// transportStatus is the HTTP status of an error in transport mode.
func transportStatus(e *channel.Error) int {
	switch channel.ErrorCode(e.Code) {
	case channel.ErrUnknownChannel, channel.ErrMethodNotFound, channel.ErrNotAvailable:
		return http.StatusNotFound
	case channel.ErrBadRequest:
		return http.StatusBadRequest
	case channel.ErrConcurrentPagination:
		return http.StatusConflict
	case channel.ErrUnrecoverablePosition:
		return http.StatusRequestedRangeNotSatisfiable
	case channel.ErrTooManyRequests:
		return http.StatusTooManyRequests
	default:
		return http.StatusInternalServerError
	}
}

func badRequest(format string, args ...any) *channel.Error {
	e := *channel.ErrBadRequest.Err()
	e.Message += ": " + fmt.Sprintf(format, args...)
	return &e
}
