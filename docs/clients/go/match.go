// Matches one file: match ADDRESS CA_FILE TOKEN_FILE FILE
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	matchv1 "hashwarden/matchv1"
)

const (
	deadline     = 30 * time.Second
	messageBytes = 32 << 20
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		failed := status.Convert(err)
		fmt.Println(codeName(failed), reasonOf(failed), failed.Message())
		os.Exit(2)
	}
}

func run(address, caFile, tokenFile, file string) error {
	tls, err := credentials.NewClientTLSFromFile(caFile, "")
	if err != nil {
		return err
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config, err := os.ReadFile("docs/clients/service_config.json")
	if err != nil {
		return err
	}
	channel, err := grpc.Dial(address,
		grpc.WithTransportCredentials(tls),
		grpc.WithDefaultServiceConfig(string(config)),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(messageBytes),
			grpc.MaxRetryRPCBufferSize(messageBytes)))
	if err != nil {
		return err
	}
	defer channel.Close()

	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx,
		"authorization", "Bearer "+strings.TrimSpace(string(token)))
	answer, err := matchv1.NewMatchServiceClient(channel).MatchImage(ctx,
		&matchv1.MatchImageRequest{Image: image, Reference: filepath.Base(file)})
	if err != nil {
		return err
	}
	result := answer.GetResult()
	note := result.GetMatchId()
	if reason := result.GetNotHashable(); note == "" && reason != nil {
		note = reason.GetReason().String()
	}
	fmt.Println(result.GetDecision(), note, result.GetExplanation())
	return nil
}

// The server's own reason, for programs; empty where the error came from somewhere else.
func reasonOf(failed *status.Status) string {
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// As other languages write it: UNAUTHENTICATED, not Unauthenticated.
func codeName(failed *status.Status) string {
	var name strings.Builder
	for place, letter := range failed.Code().String() {
		if place > 0 && letter >= 'A' && letter <= 'Z' && name.Len() > 1 {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}
