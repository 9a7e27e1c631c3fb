package channel

import "shoal/codec/proto/jsontext"

// CheckData judges the data of a publication by publication_data_format, for clients and
// the API alike; the error is 107. What is JSON is decided as the encoder does that sends
// it. It does not allocate.
func (o *Options) CheckData(data []byte) *Error {
	ok := len(data) > 0
	switch o.PublicationDataFormat {
	case "binary":
		ok = true
	case "json":
		ok = jsontext.Valid(data)
	case "json_object":
		i := jsontext.SkipSpace(data, 0)
		ok = i < len(data) && data[i] == '{' && jsontext.Valid(data)
	}
	if !ok {
		return ErrBadRequest.Err()
	}
	return nil
}
