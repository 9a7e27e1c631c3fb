package api

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"shoal/pool/buffer"
	"shoal/pool/worker"
	"shoal/server/channel"
)

// Config is fixed for the life of the handler.
type Config struct {
	Key          string // required unless Insecure
	Insecure     bool   // no authentication; for development
	BodyBytesMax int64  // of one request; 0 = 4 MiB
	Transport    bool   // errors are HTTP statuses for every caller

	BatchMax     int          // commands of one batch; 0 = BatchDefault
	BroadcastMax int          // channels of one broadcast; 0 = BroadcastDefault
	Workers      *worker.Pool // runs parallel batches; nil: commands run one after the other
	Spread       bool         // publishing blocks: broadcasts are for the workers too

	// AccessLog gets a line for every request; nil = none. Clock is for its durations.
	AccessLog *slog.Logger
	Clock     func() time.Time

	// Count is told of every call that was let in: its method and the code of its
	// error, 0 for none; of a batch, of every command as well. Any goroutine; may be nil.
	Count func(method string, code uint32)
	// Rejected is told of every call without a valid key. May be nil.
	Rejected func()
}

const (
	bodyBytesDefault = 4 << 20
	bodyBytesAtOnce  = 64 << 10 // borrowed before a byte of the body has come

	errorModeHeader = "X-Centrifugo-Error-Mode"
)

// Handler serves the API. Its paths are relative to where it is mounted (see
// http.StripPrefix): /<method>, and the older empty path with {"method","params"}
// in the body.
type Handler struct {
	cfg     Config
	calls   *Calls
	log     *slog.Logger
	key     Key
	methods map[string]method
	buffers *buffer.Pool
	serve   http.Handler // serveHTTP, or that inside the access log

	jsonType, noSniff []string // header values, shared by all answers
}

// New returns the handler. It fails when there is neither a key nor Insecure, and when
// there is an AccessLog without a Clock.
func New(cfg Config, s Service, log *slog.Logger) (*Handler, error) {
	if cfg.Key == "" && !cfg.Insecure {
		return nil, errors.New("http_api.key is empty, so nobody could use the API: set http_api.key, or http_api.insecure for development")
	}
	if cfg.AccessLog != nil && cfg.Clock == nil {
		return nil, errors.New("api: AccessLog needs a Clock")
	}
	if cfg.BodyBytesMax <= 0 {
		cfg.BodyBytesMax = bodyBytesDefault
	}
	if cfg.Count == nil {
		cfg.Count = func(string, uint32) {}
	}
	if cfg.Rejected == nil {
		cfg.Rejected = func() {}
	}
	h := &Handler{
		cfg: cfg, log: log, key: NewKey(cfg.Key), methods: methods(),
		calls:    &Calls{Service: s, JSON: true, BatchMax: cfg.BatchMax, BroadcastMax: cfg.BroadcastMax, Workers: cfg.Workers, Spread: cfg.Spread},
		buffers:  buffer.New(buffer.Config{ClassMin: 512, ClassMax: 256 << 10, RetainedBytesMax: 2 << 20}),
		jsonType: []string{"application/json"}, noSniff: []string{"nosniff"},
	}
	h.serve = http.HandlerFunc(h.serveHTTP)
	if cfg.AccessLog != nil {
		h.serve = AccessLog(h.serve, cfg.AccessLog, cfg.Clock)
	}
	return h, nil
}

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI serves the OpenAPI document of the HTTP API, which is no secret.
func OpenAPI() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the OpenAPI document can be read only", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(openAPI) // the reader is gone if this fails
		}
	})
}

// ServeHTTP answers one call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve.ServeHTTP(w, r) }

func (h *Handler) serveHTTP(w http.ResponseWriter, r *http.Request) {
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
	name := strings.TrimPrefix(r.URL.Path, "/")
	m, known := h.methods[name]
	if !known && name != "" {
		http.Error(w, "no such API method; /openapi.yaml lists them", http.StatusNotFound)
		return
	}
	body := h.buffers.Get(int(min(max(r.ContentLength, 0), bodyBytesAtOnce)) + 1) // the last byte is for the end of file
	defer h.buffers.Put(body)
	if !h.read(w, r, body) {
		return
	}
	out := h.buffers.Get(0)
	defer h.buffers.Put(out)
	if name == "" {
		h.legacy(w, r, body.B, out)
		return
	}
	h.call(w, r, name, m, body.B, out)
}

// read reads the body, or answers why that is not possible.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, into *buffer.Buffer) bool {
	for r.ContentLength <= h.cfg.BodyBytesMax && int64(len(into.B)) <= h.cfg.BodyBytesMax {
		if len(into.B) == cap(into.B) {
			h.buffers.Grow(into, 1)
		}
		n, err := r.Body.Read(into.B[len(into.B):cap(into.B)])
		into.B = into.B[:len(into.B)+n]
		if err == nil {
			continue
		}
		if err == io.EOF && int64(len(into.B)) <= h.cfg.BodyBytesMax {
			return true
		}
		if err != io.EOF {
			http.Error(w, "the request body could not be read", http.StatusBadRequest)
			return false
		}
	}
	w.Header().Set("Connection", "close") // what else it has would have to be read
	http.Error(w, fmt.Sprintf("the request body is larger than %d bytes: send fewer or smaller publications", h.cfg.BodyBytesMax),
		http.StatusRequestEntityTooLarge)
	return false
}

// call runs a method and answers.
func (h *Handler) call(w http.ResponseWriter, r *http.Request, name string, m method, body []byte, out *buffer.Buffer) {
	if m.wrapped {
		out.B = append(out.B, `{"result":`...)
	}
	answer, e, err := m.run(h, r.Context(), body, out.B)
	out.B = answer
	wrong := false
	if err != nil {
		e, wrong = h.failure(name, err)
	}
	if e != nil {
		h.cfg.Count(name, e.Code)
		h.refuse(w, r, e, wrong, out)
		return
	}
	h.cfg.Count(name, 0)
	if m.wrapped {
		out.B = append(out.B, '}')
	}
	h.answer(w, r, http.StatusOK, 0, out.B)
}

// failure is the error that a call fails with, and whether it is the body's fault.
func (h *Handler) failure(method string, err error) (e *channel.Error, isUndecodable bool) {
	var wrong *undecodable
	if errors.As(err, &wrong) {
		return wrong.explain(), true
	}
	h.log.Error("API answer could not be encoded", "method", method, "error", err)
	return channel.ErrInternal.Err(), false
}

// refuse answers an error. A body that cannot be decoded is HTTP status 400 in both
// modes, as Centrifugo has it; everything else is 200 unless the caller wants statuses.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, e *channel.Error, undecodable bool, out *buffer.Buffer) {
	status := http.StatusOK
	out.B = out.B[:0]
	if h.cfg.Transport || r.Header.Get(errorModeHeader) == "transport" {
		status = transportStatus(e)
		out.B = appendError(out.B, e.Code, e.Message)
	} else {
		out.B = append(appendError(append(out.B, `{"error":`...), e.Code, e.Message), '}')
	}
	if undecodable {
		status = http.StatusBadRequest
	}
	h.answer(w, r, status, e.Code, out.B)
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, status int, code uint32, body []byte) {
	if l, ok := w.(*logged); ok {
		l.code = code
	}
	header := w.Header()
	header["Content-Type"] = h.jsonType
	header["X-Content-Type-Options"] = h.noSniff
	if len(body) > 1024 { // shorter ones get it from net/http
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		h.log.Debug("API answer could not be sent", "path", r.URL.Path, "error", err)
	}
}

// transportStatus is the HTTP status of an error in transport mode.
func transportStatus(e *channel.Error) int {
	switch channel.ErrorCode(e.Code) {
	case channel.ErrUnknownChannel, channel.ErrMethodNotFound:
		return http.StatusNotFound
	case channel.ErrBadRequest, channel.ErrNotAvailable:
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

// undecodable is a body that is no JSON or has the wrong types.
type undecodable struct{ err error }

func (u *undecodable) Error() string { return u.err.Error() }

// explain says what is wrong with the body in words for people who do not write Go.
func (u *undecodable) explain() *channel.Error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(u.err, &kind) && kind.Field != "":
		return badRequest("%s is a JSON %s where a value of type %s is expected", kind.Field, kind.Value, jsonType(kind))
	case errors.As(u.err, &kind):
		return badRequest("the body is a JSON %s where an object is expected", kind.Value)
	case errors.As(u.err, &syntax) && syntax.Offset == 0:
		return badRequest("the body is empty: send a JSON object, {} at least")
	case errors.As(u.err, &syntax):
		return badRequest("the body is no JSON at byte %d: %v", syntax.Offset, syntax)
	}
	return badRequest("the body cannot be decoded: %v", u.err)
}
