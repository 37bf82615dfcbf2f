import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import hashwarden.match.v1.MatchOuterClass.MatchImageRequest;
import hashwarden.match.v1.MatchOuterClass.MatchResult;
import hashwarden.match.v1.MatchServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Matches one file: Match ADDRESS CA_FILE TOKEN_FILE FILE */
public final class Match {
  private static final int DEADLINE_SECONDS = 30;
  private static final int MESSAGE_BYTES = 32 << 20;
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] arguments) throws Exception {
    Path file = Path.of(arguments[3]);
    Metadata credentials = new Metadata();
    credentials.put(AUTHORIZATION, "Bearer " + Files.readString(Path.of(arguments[2])).strip());
    ManagedChannel channel = open(arguments[0], new File(arguments[1]));
    try {
      MatchResult result =
          MatchServiceGrpc.newBlockingStub(channel)
              .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(credentials))
              .withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS)
              .matchImage(
                  MatchImageRequest.newBuilder()
                      .setImage(ByteString.copyFrom(Files.readAllBytes(file)))
                      .setReference(file.getFileName().toString())
                      .build())
              .getResult();
      String note = result.getMatchId();
      if (note.isEmpty() && result.hasNotHashable()) {
        note = result.getNotHashable().getReason().name();
      }
      System.out.println(result.getDecision() + " " + note + " " + result.getExplanation());
    } catch (StatusRuntimeException error) {
      System.out.println(
          error.getStatus().getCode() + " " + reasonOf(error) + " "
              + error.getStatus().getDescription());
      System.exit(2);
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  @SuppressWarnings("unchecked")
  private static ManagedChannel open(String address, File authority) throws Exception {
    Map<String, Object> config =
        new Gson().fromJson(
            Files.readString(Path.of("docs/clients/service_config.json")), Map.class);
    return NettyChannelBuilder.forTarget(address)
        .sslContext(GrpcSslContexts.forClient().trustManager(authority).build())
        .defaultServiceConfig(config)
        .enableRetry()
        .perRpcBufferLimit(MESSAGE_BYTES)
        .maxInboundMessageSize(MESSAGE_BYTES)
        .build();
  }

  /** The server's own reason, for programs; empty where the error came from somewhere else. */
  private static String reasonOf(StatusRuntimeException error) throws Exception {
    Status status = StatusProto.fromThrowable(error);
    if (status != null) {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          return detail.unpack(ErrorInfo.class).getReason();
        }
      }
    }
    return "";
  }
}
