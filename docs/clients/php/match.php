<?php
// Matches one file: php match.php ADDRESS CA_FILE TOKEN_FILE FILE
//
// One gRPC call over curl's HTTP/2, so that neither the extension `grpc` nor `protobuf` is needed.
declare(strict_types=1);

use Google\Rpc\ErrorInfo;
use Google\Rpc\Status;
use Hashwarden\PBMatch\V1\Decision;
use Hashwarden\PBMatch\V1\MatchImageRequest;
use Hashwarden\PBMatch\V1\MatchImageResponse;
use Hashwarden\PBMatch\V1\NotHashableReason;

const GENERATED = __DIR__ . '/../../../build/clients/php';
const DEADLINE_SECONDS = 30;
const ATTEMPTS = 4;
const CODES = ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND',
    'ALREADY_EXISTS', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED',
    'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'];

// What protoc made, then what the package manager has (with Composer: require vendor/autoload.php).
spl_autoload_register(static function (string $class): void {
    $name = strtr($class, '\\', '/') . '.php';
    $made = GENERATED . "/$name";
    if ($file = is_file($made) ? $made : stream_resolve_include_path($name)) {
        require $file;
    }
});

/** @return array{string, string, string, string} code, the server's reason, message, answer's bytes */
function call(string $address, string $caFile, string $token, string $method, string $message): array
{
    $told = [];
    $curl = curl_init("https://$address/$method");
    curl_setopt_array($curl, [
        CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_2TLS,
        CURLOPT_CAINFO => $caFile,
        CURLOPT_TIMEOUT => DEADLINE_SECONDS,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_POSTFIELDS => "\0" . pack('N', strlen($message)) . $message,
        CURLOPT_HTTPHEADER => [
            'content-type: application/grpc',
            'te: trailers',
            'grpc-timeout: ' . DEADLINE_SECONDS . 'S',
            'expect:',
            "authorization: Bearer $token",
        ],
        // Headers and trailers alike: the status stands in either.
        CURLOPT_HEADERFUNCTION => static function ($curl, string $line) use (&$told): int {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $told[strtolower(trim($name))] = trim($value);
            return strlen($line);
        },
    ]);
    $body = curl_exec($curl);
    if (curl_errno($curl) === CURLE_OPERATION_TIMEDOUT) {
        return ['DEADLINE_EXCEEDED', '', curl_error($curl), ''];
    }
    if ($body === false || !isset($told['grpc-status'])) {
        return ['UNAVAILABLE', '', curl_error($curl), ''];
    }
    $code = CODES[(int) $told['grpc-status']];
    $reason = '';
    if (isset($told['grpc-status-details-bin'])) {
        $status = new Status();
        $status->mergeFromString(base64_decode($told['grpc-status-details-bin']));
        foreach ($status->getDetails() as $detail) {
            if (str_ends_with($detail->getTypeUrl(), '/google.rpc.ErrorInfo')) {
                $info = new ErrorInfo();
                $info->mergeFromString($detail->getValue());
                $reason = $info->getReason();
            }
        }
    }
    return [$code, $reason, rawurldecode($told['grpc-message'] ?? ''), substr($body, 5)];
}

[, $address, $caFile, $tokenFile, $file] = $argv;
$request = new MatchImageRequest();
$request->setImage(file_get_contents($file));
$request->setReference(basename($file));
for ($attempt = 1; ; $attempt++) {
    [$code, $reason, $message, $bytes] = call(
        $address,
        $caFile,
        trim(file_get_contents($tokenFile)),
        'hashwarden.match.v1.MatchService/MatchImage',
        $request->serializeToString(),
    );
    if (!in_array($code, ['UNAVAILABLE', 'CANCELLED'], true) || $attempt === ATTEMPTS) {
        break;
    }
    usleep(200_000 * 2 ** $attempt + random_int(0, 100_000));
}
if ($code !== 'OK') {
    echo "$code $reason $message\n";
    exit(2);
}
$answer = new MatchImageResponse();
$answer->mergeFromString($bytes);
$result = $answer->getResult();
$note = $result->getMatchId();
if ($note === '' && $result->hasNotHashable()) {
    $note = NotHashableReason::name($result->getNotHashable()->getReason());
}
echo Decision::name($result->getDecision()), " $note ", $result->getExplanation(), "\n";
