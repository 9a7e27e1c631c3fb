package api

import (
	"strconv"

	"shoal/codec/proto/jsontext"
	"shoal/server/channel"
)

// The answers that are asked for most, appended rather than marshalled; a test compares
// them with encoding/json.

func appendPublishResult(out []byte, r PublishResult) []byte {
	out = append(out, '{')
	if r.Offset != 0 {
		out = strconv.AppendUint(append(out, `"offset":`...), r.Offset, 10)
	}
	if r.Epoch != "" {
		if r.Offset != 0 {
			out = append(out, ',')
		}
		out = jsontext.AppendQuoted(append(out, `"epoch":`...), r.Epoch)
	}
	return append(out, '}')
}

func appendError(out []byte, code uint32, message string) []byte {
	out = strconv.AppendUint(append(out, `{"code":`...), uint64(code), 10)
	return append(jsontext.AppendQuoted(append(out, `,"message":`...), message), '}')
}

func appendBroadcastResult(out []byte, r *BroadcastResult) []byte {
	out = append(out, `{"responses":[`...)
	for i := range r.Responses {
		if i > 0 {
			out = append(out, ',')
		}
		if one := &r.Responses[i]; one.Error != nil {
			out = appendError(append(out, `{"error":`...), one.Error.Code, one.Error.Message)
		} else {
			out = appendPublishResult(append(out, `{"result":`...), *one.Result)
		}
		out = append(out, '}')
	}
	return append(out, ']', '}')
}

// appendPublishReply appends the reply to a publish command of a batch.
func appendPublishReply(out []byte, r PublishResult, e *channel.Error) []byte {
	if e != nil {
		return append(appendError(append(out, `{"error":`...), e.Code, e.Message), '}')
	}
	return append(appendPublishResult(append(out, `{"publish":`...), r), '}')
}

// appendRepliesEnd ends {"replies":[…; without a reply there is no field.
func appendRepliesEnd(out []byte, n int) []byte {
	if n == 0 {
		return append(out[:len(out)-len(`"replies":[`)], '}')
	}
	return append(out, ']', '}')
}
